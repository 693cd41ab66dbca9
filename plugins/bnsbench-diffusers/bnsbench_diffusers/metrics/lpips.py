"""LPIPS: the perceptual distance of images in a network trained on ImageNet, its layers weighed as people judged."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torchmetrics.functional.image.lpips import _NoTrainLpips
from torchvision.models import get_model_weights

from bnsbench.plugin import NotApplicableError, PairedMetric, SampleSet, UsageError, content_hash, seeded_random_states
from bnsbench_diffusers.metrics.images import rgb
from bnsbench_diffusers.models.fingerprint import network_digest

Network = Literal["alex", "vgg", "squeeze"]

BATCH = 16
"""Pairs of images that the network gets at once, whatever the number of samples."""

DOWNLOAD = "download"
"""What to give as ``backbone`` to let torchvision fetch the weights."""


@dataclass(frozen=True)
class Backbone:
    """A network of torchvision by its name there, and the least side of images that its pooling leaves something of."""

    name: str
    least: int


BACKBONES: Mapping[Network, Backbone] = {
    "alex": Backbone("alexnet", 31),
    "vgg": Backbone("vgg16", 16),
    "squeeze": Backbone("squeezenet1_1", 17),
}


class Lpips(PairedMetric):
    """LPIPS 0.1 (Zhang et al. 2018, eq. 1) to the ground truth, by torchmetrics, of images in [-1, 1] in their own size.

    network: "alex", "vgg" or "squeeze". backbone: a file of torchvision's weights of that network; "download" lets
    torchvision fetch them; if empty, they are looked for where torchvision keeps what it has fetched before.
    Raises UsageError for unknown networks and where there are no weights, NotApplicableError for images that are too small
    or not in colour, DivergedError for samples that are not finite.
    """

    worst = 0.95

    def __init__(self, network: Network = "alex", backbone: str = "") -> None:
        if network not in BACKBONES:
            raise UsageError(f"LPIPS has no network {network!r}; choose from {', '.join(BACKBONES)}.")
        self.network = network
        self.file = find_backbone(network, backbone)

    def compare(self, samples: SampleSet) -> Tensor:
        images, truth = rgb(samples.samples), rgb(samples.truth)
        least, side = BACKBONES[self.network].least, min(images.shape[2:])
        if side < least:
            raise NotApplicableError(
                f"LPIPS with network={self.network} needs images of at least {least} pixels, not {side}."
            )
        distance = self._loaded()[0].to(images.device)
        parts = zip(torch.split(images, BATCH), torch.split(truth, BATCH), strict=True)
        with torch.no_grad():
            return torch.cat([distance(a, b).flatten() for a, b in parts]).double()

    def info(self, samples: SampleSet) -> dict[str, str]:
        del samples
        return {"network": self._loaded()[1]}

    def fingerprint(self) -> str:
        """Return a hash of the backbone's file."""
        return content_hash(self.file, (self.file,))

    def _loaded(self) -> tuple[nn.Module, str]:
        return _load(self.network, self.file, self.file.stat().st_mtime_ns)


def find_backbone(network: Network, backbone: str) -> Path:
    """Return the file of a network's weights; UsageError if there is none. Nothing is fetched unless that is asked for."""
    if backbone not in ("", DOWNLOAD):
        file = Path(backbone).expanduser()
        if not file.is_file():
            raise UsageError(f"There is no file {backbone!r} with the weights of LPIPS's network.")
        return file
    name = BACKBONES[network].name
    weights = get_model_weights(name)["DEFAULT"]
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name
    if file.is_file():
        return file
    if backbone != DOWNLOAD:
        raise UsageError(
            f"LPIPS needs torchvision's weights of {name}, which are not in its cache: give backbone=FILE, "
            f"or backbone={DOWNLOAD} to let torchvision fetch them."
        )
    try:
        weights.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:
        raise UsageError(f"torchvision could not fetch its weights of {name}: {error}.") from error
    return file


@lru_cache(maxsize=len(BACKBONES))
def _load(network: Network, file: Path, changed: int) -> tuple[nn.Module, str]:
    """Return the distance with the weights in a file, last changed at that time, and its hash."""
    del changed  # part of the key
    with seeded_random_states(0):
        distance = _NoTrainLpips(net=network, pnet_rand=True)
    stored = _state_dict(file)
    # torchmetrics cuts torchvision's layers into slices, and keeps their numbers.
    names = {name: re.sub(r"^slice(s\.)?\d+", "features", name) for name in distance.net.state_dict()}
    try:
        distance.net.load_state_dict({name: stored[theirs] for name, theirs in names.items()})
    except (KeyError, RuntimeError, TypeError) as error:
        name = BACKBONES[network].name
        raise UsageError(f"The file {file} does not hold torchvision's weights of {name}.") from error
    return distance, network_digest(distance)


def _state_dict(file: Path) -> Any:
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        return torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, UnpicklingError, SafetensorError) as error:
        raise UsageError(f"The file {file} holds no weights that can be read: {error}.") from error
