"""What diffusion solvers share: noise levels as plain numbers, predictions at them, and the first-order step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bnsbench.flows.fields import VelocityField
from bnsbench.flows.paths import LOG_SNR_BOUND, Path
from bnsbench.flows.predictions import to_data, to_noise
from bnsbench.solvers.grids import Grid, time_grid


@dataclass(frozen=True)
class Level:
    """A time with its alpha, sigma and lambda = log(alpha / sigma)."""

    time: Tensor
    alpha: float
    sigma: float
    log_snr: float

    @property
    def rho(self) -> float:
        """sigma / alpha, for alpha above 0; DEIS calls it rho, and EDM's states x / alpha have it as their sigma."""
        return self.sigma / self.alpha

    @property
    def finite(self) -> bool:
        """Whether lambda is: it is not where alpha or sigma is 0, and steps in lambda cannot begin or end there."""
        return abs(self.log_snr) < LOG_SNR_BOUND


@dataclass(frozen=True)
class Evaluation:
    """A prediction, of the data or the noise, at a level."""

    level: Level
    value: Tensor


def levels_at(path: Path, times: Tensor) -> list[Level]:
    """The levels at float64 times [count]."""
    columns = (path.alpha(times).tolist(), path.sigma(times).tolist(), path.log_snr(times).tolist())
    return [Level(*level) for level in zip(times.unbind(), *columns, strict=True)]


def grid_levels(field: VelocityField, grid: Grid, steps: int) -> list[Level]:
    """The levels [steps + 1] of a time grid over the field's interval."""
    return levels_at(field.path, time_grid(grid, field.path, field.interval, steps))


def level_between(path: Path, s: Level, t: Level, fraction: float) -> Level:
    """The level whose lambda lies at that fraction, 0 to 1, of the way from s to t."""
    log_snr = torch.tensor([s.log_snr + fraction * (t.log_snr - s.log_snr)], dtype=torch.float64)
    return levels_at(path, path.time(log_snr))[0]


def predict_data(field: VelocityField, s: Level, x: Tensor) -> Tensor:
    """Evaluate the field and return its data prediction x1 at (s, x)."""
    return to_data(field.path, s.time, x, _velocity(field, s, x))


def predict_noise(field: VelocityField, s: Level, x: Tensor) -> Tensor:
    """Evaluate the field and return its noise prediction epsilon at (s, x)."""
    return to_noise(field.path, s.time, x, _velocity(field, s, x))


def predict_both(field: VelocityField, s: Level, x: Tensor) -> tuple[Tensor, Tensor]:
    """Evaluate the field once and return its data and noise predictions at (s, x)."""
    u = _velocity(field, s, x)
    return to_data(field.path, s.time, x, u), to_noise(field.path, s.time, x, u)


def _velocity(field: VelocityField, s: Level, x: Tensor) -> Tensor:
    return field(s.time.to(x.device), x)


def ddim_step(x: Tensor, s: Level, t: Level, data: Tensor) -> Tensor:
    """The state at t for the data prediction of (s, x) held constant: exact for all levels, infinite ones included.

    x_t = alpha_t x1 + sigma_t epsilon with epsilon = (x - alpha_s x1) / sigma_s (Song et al. 2021, DDIM, Eq. 12, eta = 0).

    Args:
        x: State [batch, ...] at s.
        s: Level at the step's beginning, with sigma above 0.
        t: Level at the step's end.
        data: Data prediction x1 [batch, ...] at (s, x).

    Returns:
        The state [batch, ...] at t.
    """
    ratio = t.sigma / s.sigma
    return ratio * x + (t.alpha - ratio * s.alpha) * data


def noise_step(x: Tensor, s: Level, t: Level, noise: Tensor) -> Tensor:
    """The state at t for the noise prediction of (s, x) held constant: the same step as `ddim_step`, for alpha_s above 0.

    Args:
        x: State [batch, ...] at s.
        s: Level at the step's beginning, with alpha above 0.
        t: Level at the step's end.
        noise: Noise prediction epsilon [batch, ...] at (s, x).

    Returns:
        The state [batch, ...] at t.
    """
    ratio = t.alpha / s.alpha
    return ratio * x + (t.sigma - ratio * s.sigma) * noise


def recent(history: Sequence[Evaluation], order: int) -> list[Evaluation]:
    """Up to ``order`` evaluations, the newest first, as far back as lambda is finite."""
    found: list[Evaluation] = []
    for evaluation in reversed(history[-order:]):
        if not evaluation.level.finite:
            break
        found.append(evaluation)
    return found
