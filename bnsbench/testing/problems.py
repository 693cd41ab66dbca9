"""The small problems on which components are checked: exact mixtures of Gaussians, one with its flow in closed form."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Tensor

from bnsbench.flows.model import ModelField
from bnsbench.flows.paths import Path
from bnsbench.models.mixtures import Mixture, MixtureModel
from bnsbench.truth.noise import noise

_BISECTIONS = 80
_FARTHEST = 20.0


@dataclass(frozen=True)
class Case:
    """A field and initial states x0 [n, ...] for a solver."""

    field: ModelField
    x0: Tensor

    def part(self, index: slice) -> Case:
        """Return the samples ``index``."""
        return Case(self.field.part(index), self.x0[index])


def guided_case(path: Path, interval: tuple[float, float], device: str = "cpu") -> Case:
    """Return six samples of the conditional `image_model` under guidance w = 1, in float64.

    Args:
        path: The Gaussian path.
        interval: The times (t_begin, t_end) of the field.
        device: Where the field and the initial states are.
    """
    model = image_model(path, interval).to(device, torch.float64)
    indices = torch.arange(6)
    x0 = float(path.sigma(interval[0])) * noise(0, "conformance", "test", indices, model.shape)
    condition = (indices % model.classes).to(device)
    return Case(model.field(condition, guidance=1.0), x0.to(device))


def image_model(path: Path, interval: tuple[float, float]) -> MixtureModel:
    """Return an exact mixture of two classes of two Gaussians each, in images of 1x2x2 pixels."""
    corners = [[0.8, 0.2, -0.4, 0.1], [-0.3, 0.7, 0.5, -0.6], [-0.8, -0.5, 0.2, 0.6], [0.4, -0.7, -0.6, 0.3]]
    factors = 0.3 * torch.eye(4, dtype=torch.float64).expand(4, 4, 4)
    mixture = Mixture(torch.full((4,), 0.25, dtype=torch.float64), torch.tensor(corners, dtype=torch.float64), factors, 2)
    model = MixtureModel(mixture, path, (1, 2, 2))
    model.interval = interval
    return model


def quantile_case(path: Path, interval: tuple[float, float]) -> tuple[Case, Tensor]:
    """Return a mixture on the line with the exact end states of its flow, which is linear neither in x nor in t.

    On the line the flow keeps the order of points, so each keeps its quantile: F_t(x_t) = F_s(x_s) for the distribution
    functions of the marginals, mixtures of N(alpha m_k, alpha^2 s_k^2 + sigma^2).
    """
    means, spreads = torch.tensor([-0.9, 0.3, 1.1], dtype=torch.float64), torch.tensor([0.5, 0.35, 0.6], dtype=torch.float64)
    weights = torch.tensor([0.4, 0.35, 0.25], dtype=torch.float64)
    model = MixtureModel(Mixture(weights, means[:, None], spreads[:, None, None]), path, (1,))
    model.interval = interval
    x0 = torch.linspace(-1.6, 1.6, 9, dtype=torch.float64)[:, None]

    def distribution(t: float, x: Tensor) -> Tensor:
        alpha, sigma = path.alpha(t), path.sigma(t)
        deviations = (alpha**2 * spreads**2 + sigma**2).sqrt()
        below: Tensor = torch.special.ndtr((x - alpha * means) / deviations)
        return (weights * below).sum(-1, keepdim=True)

    x1 = _inverse(functools.partial(distribution, interval[1]), distribution(interval[0], x0))
    return Case(model.field(None), x0), x1


def _inverse(increasing: functools.partial[Tensor], values: Tensor) -> Tensor:
    """Return where an increasing function takes the values, by bisection."""
    low, high = torch.full_like(values, -_FARTHEST), torch.full_like(values, _FARTHEST)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        below = increasing(middle) < values
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return (low + high) / 2
