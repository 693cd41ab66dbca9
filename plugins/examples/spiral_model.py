"""A model plugin: points on a spiral, blurred; what a perfect network would predict is known in closed form."""

import hashlib
import math

import torch

from bnsbench.paths import CondOT
from bnsbench.plugin import Model, ModelSpec, Reference, hookimpl


@hookimpl
def bnsbench_models():
    """Yield the model; its target is called with the parameters and returns the model."""
    yield ModelSpec("spiral", ":Spiral", "A blurred spiral.", parameters={"turns": 2.0, "blur": 0.05}, modality="points")


class Spiral(Model):
    """The data are N(m_k, blur^2 I) with the centres m_k [100, 2] on an Archimedean spiral, all equally likely.

    It predicts the data, E[x_1 | x_t], as many networks do. That says nothing about the velocity where the noise is
    gone, so it ends shortly before t = 1.
    """

    path = CondOT()
    shape = (2,)
    prediction = "x"
    interval = (0.0, 1.0 - 1e-3)
    dtype = torch.float64

    def __init__(self, turns: float, blur: float) -> None:
        radius = torch.linspace(0.2, 1.0, 100, dtype=self.dtype)
        angle = 2 * math.pi * turns * radius
        self.centres = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1)
        self.blur = blur
        self.turns = turns

    def predict(self, t, x, condition):
        alpha, sigma = (c.to(x).reshape(-1, 1, 1) for c in (self.path.alpha(t), self.path.sigma(t)))
        offset = x[:, None] - alpha * self.centres  # [batch, centre, 2]
        variance = alpha**2 * self.blur**2 + sigma**2
        posterior = torch.softmax(-0.5 * (offset**2 / variance).sum(-1), dim=1)
        means = self.centres + alpha * self.blur**2 / variance * offset
        return (posterior[..., None] * means).sum(1)

    def fingerprint(self):
        return hashlib.sha256(f"spiral {self.turns} {self.blur}".encode()).hexdigest()

    def reference(self):
        generator = torch.Generator().manual_seed(0)
        blur = torch.randn(2000, 2, generator=generator, dtype=torch.float64)
        return Reference(self.centres.repeat(20, 1).cpu() + self.blur * blur)

    def to(self, device, dtype):
        self.centres = self.centres.to(device, dtype)
        return super().to(device, dtype)
