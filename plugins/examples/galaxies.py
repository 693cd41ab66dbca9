"""A model plugin: galaxies, by the score networks that lie in the installed package galaxygrad (Sampson et al. 2024).

The networks are those of https://arxiv.org/abs/2401.07313. The package names no licence, so nothing of it is here: its files
are read where they are installed, as arrays (never unpickled), by a network written anew.
"""

import hashlib
import math
from importlib.metadata import PackageNotFoundError, distribution

import numpy as np
import torch
from torch import nn

from bnsbench.paths import VP
from bnsbench.plugin import Model, ModelSpec, UsageError, hookimpl, one_line

VERSION = "0.1.9"
ARRAYS = 55  # in each file: 54 parameters of the network, and the end of its time
SURVEYS = {  # the file of each network, and between what its pixels lie, as seen in samples
    "hsc-32": ("eqx_hsc_ScoreNet32.eqx", (-0.5, 7.5)),
    "hsc-64": ("eqx_hsc_ScoreNet64.eqx", (-0.5, 9.5)),
    "ztf-32": ("eqx_ZTF_ScoreNet32.eqx", (-0.5, 9.5)),
    "ztf-64": ("eqx_ZTF_ScoreNet64.eqx", (-0.5, 16.5)),
    "lsst-60": ("eqx_lsst_ScoreNet60.eqx", (6.0, 11.5)),
    "quasar-72": ("eqx_quasar_lens72.eqx", (-0.5, 11.5)),
}


@hookimpl
def bnsbench_models():
    """Yield the model; ``survey`` is a survey of the sky and the side of its pictures in pixels."""
    yield ModelSpec("galaxies", ":Galaxies", "Galaxies of a survey.", parameters={"survey": "hsc-32"}, modality="image")


class Galaxies(Model):
    """Pixels of a state are log(1 + flux) / 0.1; with tau = 10 (1 - t), alpha = exp(-tau / 2): a constant rate of noise.

    It ends at tau = 0.01, as the package uses its networks: closer to 0, what they say of the noise falls off.
    """

    path = VP(beta_min=10.0, beta_max=10.0)
    prediction = "epsilon"
    interval = (0.0, 1.0 - 1e-3)

    def __init__(self, survey: str) -> None:
        if survey not in SURVEYS:
            raise UsageError(f"galaxygrad has no survey {survey!r}: choose from {', '.join(SURVEYS)}.")
        file, self.pixels = SURVEYS[survey]
        self.data_range = self.pixels[1] - self.pixels[0]
        *leaves, end = read(file)
        patches = leaves[-1].shape[1]
        self.network = Mixer(patches, float(end))
        self.network.load(leaves)
        side = 4 * math.isqrt(patches)
        self.shape = (1, side, side)
        content = b"".join(leaf.tobytes() for leaf in leaves)
        self.digest = hashlib.sha256(f"{survey} {self.interval} {self.path.to_dict()}".encode() + content).hexdigest()

    def predict(self, t, x, condition):
        tau = 10.0 * (1.0 - t.double())
        score = self.network(tau.to(x).expand(len(x)), x)
        return -self.path.sigma(t).to(x).reshape(-1, 1, 1, 1) * score

    def decode(self, x):
        low, high = self.pixels
        return (2.0 * (x - low) / (high - low) - 1.0).clamp(-1.0, 1.0)

    def fingerprint(self):
        return self.digest

    def networks(self):
        return (self.network,)

    def to(self, device, dtype):
        self.network.to(device, dtype)
        return super().to(device, dtype)


def read(name):
    """Return the arrays that one file of the package holds, one after the other."""
    try:
        package = distribution("galaxygrad")
    except PackageNotFoundError:
        raise UsageError(
            f"The model galaxies reads the networks of the package galaxygrad {VERSION}, which is not installed: install"
            f" it by 'pip install --no-deps galaxygrad=={VERSION}'."
        ) from None
    file = package.locate_file(f"galaxygrad/{name}")
    try:
        with file.open("rb") as stream:
            arrays = []
            while stream.peek(1):
                arrays.append(np.load(stream, allow_pickle=False))
        if len(arrays) != ARRAYS:
            raise ValueError(f"it holds {len(arrays)} arrays in place of {ARRAYS}")
    except (OSError, ValueError, EOFError) as error:
        raise UsageError(
            f"The network {name} of galaxygrad {package.version} cannot be read ({one_line(error)}): install the version"
            f" that this plugin is for, by 'pip install --no-deps galaxygrad=={VERSION}'."
        ) from error
    return arrays


class Mixer(nn.Module):
    """The score of images [batch, 1, side, side] at tau [batch] in (0, end], by an MLP-Mixer (Tolstikhin et al. 2021).

    Parts are named in the order of the package's files.
    """

    def __init__(self, patches: int, end: float) -> None:
        super().__init__()
        self.end = end
        self.cut = nn.Conv2d(2, 64, 4, stride=4)
        self.join = nn.ConvTranspose2d(64, 1, 4, stride=4)
        self.blocks = nn.ModuleList(Block(patches, 64) for _ in range(4))
        self.norm = nn.LayerNorm((64, patches))

    def load(self, leaves):
        for parameter, leaf in zip(self.parameters(), leaves, strict=True):
            value = torch.from_numpy(leaf)
            if parameter is self.join.weight:  # equinox correlates where torch convolves
                value = value.transpose(0, 1).flip(-1, -2)
            parameter.data = value.reshape(parameter.shape).clone()
            parameter.requires_grad_(False)

    def forward(self, tau, x):
        time = (tau / self.end).reshape(-1, 1, 1, 1).expand_as(x)
        grid = self.cut(torch.cat([x, time], dim=1))
        y = grid.flatten(2)  # [batch, channel, patch]
        for block in self.blocks:
            y = block(y)
        return self.join(self.norm(y).reshape(grid.shape))


class Block(nn.Module):
    """Mix the patches of each channel, then the channels of each patch."""

    def __init__(self, patches: int, channels: int) -> None:
        super().__init__()
        self.patch_mixer = nn.Sequential(nn.Linear(patches, 512), nn.ReLU(), nn.Linear(512, patches))
        self.channel_mixer = nn.Sequential(nn.Linear(channels, 512), nn.ReLU(), nn.Linear(512, channels))
        self.patch_norm = nn.LayerNorm((channels, patches))
        self.channel_norm = nn.LayerNorm((patches, channels))

    def forward(self, y):
        y = y + self.patch_mixer(self.patch_norm(y))
        z = y.transpose(1, 2)
        return (z + self.channel_mixer(self.channel_norm(z))).transpose(1, 2)
