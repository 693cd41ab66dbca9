"""The deterministic sampler of EDM (Karras et al. 2022, arXiv 2206.00364)."""

from __future__ import annotations

from torch import Tensor

from bnsbench.flows.fields import VelocityField
from bnsbench.solvers.grids import Grid
from bnsbench.solvers.levels import Level, noise_step, predict_noise
from bnsbench.solvers.singlestep import singlestep


def edm_heun(field: VelocityField, x0: Tensor, nfe: int, *, grid: Grid = "edm") -> Tensor:
    """Heun's rule for x / alpha over sigma / alpha (Karras et al. 2022, Algorithm 1 with sigma(t) = t and s(t) = 1).

    Order 2, two evaluations a step: n steps cost 2n - 1 if they end at sigma = 0, with a first-order step, and so they do at
    other odd budgets.
    Also known as k-diffusion's heun and diffusers' HeunDiscreteScheduler.
    Not to be confused with `heun`, on the velocity over time, nor with `etd2rk`, on the data prediction over log-SNR.
    """
    return singlestep(field, x0, nfe, 2, grid, {2: heun_step})


def heun_step(field: VelocityField, x: Tensor, s: Level, t: Level) -> Tensor:
    """One trapezoidal step; d (x / alpha) / d (sigma / alpha) is the noise prediction."""
    noise = predict_noise(field, s, x)
    noise_end = predict_noise(field, t, noise_step(x, s, t, noise))
    return noise_step(x, s, t, 0.5 * (noise + noise_end))
