"""Small models with closed forms, shared by the tests."""

from __future__ import annotations

import torch
from torch import Tensor

from bnsbench.flows.model import Model
from bnsbench.flows.paths import CondOT, Path
from bnsbench.flows.predictions import Prediction, velocity_coefficients


class GaussianModel(Model):
    """Data N(mean_c, scale^2 I): x_1 = mean + scale (x - alpha mean) / sqrt(alpha^2 scale^2 + sigma^2) along the flow.

    Class c has mean (c + 1) / 2 in every coordinate; class -1 (no condition) has mean zero.
    """

    dtype = torch.float64

    def __init__(self, path: Path | None = None, prediction: Prediction = "velocity", scale: float = 0.5, dim: int = 3):
        self.path = path or CondOT()
        self.prediction = prediction
        self.scale = scale
        self.shape = (dim,)
        self.calls: list[int] = []

    def mean(self, condition: Tensor) -> Tensor:
        return torch.where(condition < 0, 0.0, (condition + 1.0) / 2)[:, None].double()

    def predict(self, t: Tensor, x: Tensor, condition: Tensor | None) -> Tensor:
        assert condition is not None
        self.calls.append(len(x))
        path = self.path
        a, s, da, ds = (f(t).reshape(-1, 1) for f in (path.alpha, path.sigma, path.d_alpha, path.d_sigma))
        variance = (a * self.scale) ** 2 + s**2
        rate = (a * da * self.scale**2 + s * ds) / variance
        velocity = da * self.mean(condition) + rate * (x - a * self.mean(condition))
        if self.prediction == "velocity":
            return velocity
        beta, gamma = velocity_coefficients(self.path, self.prediction, t)
        return (velocity - beta.reshape(-1, 1) * x) / gamma.reshape(-1, 1)

    def flow(self, x0: Tensor, condition: Tensor, begin: float = 0.0, end: float = 1.0) -> Tensor:
        """The exact end state: standardised coordinates are kept along the flow."""
        mean = self.mean(condition)

        def deviation(t: float) -> Tensor:
            return torch.sqrt((self.path.alpha(t) * self.scale) ** 2 + self.path.sigma(t) ** 2)

        standard = (x0 - self.path.alpha(begin) * mean) / deviation(begin)
        return self.path.alpha(end) * mean + deviation(end) * standard

    def conditions(self, indices: Tensor) -> Tensor:
        return indices % 3

    def null_condition(self, condition: Tensor) -> Tensor:
        return torch.full_like(condition, -1)

    def fingerprint(self) -> str:
        return f"gaussian-{self.scale}-{self.prediction}-{self.path!r}"


class SineField:
    """A smooth, non-linear, time-dependent field without closed form, for comparisons between solvers."""

    forwards_per_evaluation = 1
    interval = (0.0, 1.0)

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or CondOT()

    def __call__(self, t: Tensor, x: Tensor) -> Tensor:
        t = t.to(x) if t.ndim == 0 else t.to(x).reshape(-1, *(1,) * (x.ndim - 1))
        return torch.sin(2 * x + 3 * t) - x.roll(1, -1) * torch.cos(4 * t) + 0.3 * x * t

    def part(self, index: Tensor | slice) -> SineField:
        del index
        return self
