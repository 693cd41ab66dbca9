"""The deterministic sampler of EDM (Karras et al. 2022, arXiv 2206.00364)."""

from __future__ import annotations

from torch import Tensor

from bnsbench.flows.fields import VelocityField
from bnsbench.solvers.grids import Grid
from bnsbench.solvers.levels import Level, noise_step, predict_noise
from bnsbench.solvers.singlestep import singlestep


def edm_heun(field: VelocityField, x0: Tensor, nfe: int, *, grid: Grid = "edm") -> Tensor:
    """EDM's sampler without noise: Heun's rule for x / alpha over sigma / alpha.

    Order: 2. Stages: 1. Two evaluations a step (see ``grid``). A step that ends at sigma = 0 is of first order, so that n
    steps to there cost 2n - 1 evaluations; elsewhere an odd budget ends with a first-order step.

    Reference: Karras et al. 2022, EDM, arXiv 2206.00364, Algorithm 1, with sigma(t) = t and s(t) = 1.

    Also known as: k-diffusion's heun; diffusers' HeunDiscreteScheduler.

    Not to be confused with: `heun`, on the velocity over time; `etd2rk`, on the data prediction over log-SNR.

    When to use it: for EDM's own models, at tens of evaluations.

    Args:
        field: Velocity field, with its path and time interval.
        x0: Initial states [batch, ...].
        nfe: Evaluations to spend, 1 or more.
        grid: Time grid with a node for each step if it is made of noise levels, and otherwise for each evaluation
            (see `time_grid`).

    Returns:
        End states [batch, ...].

    Raises:
        UsageError: If the grid is unknown or does not fit the steps.
    """
    return singlestep(field, x0, nfe, 2, grid, {2: heun_step})


def heun_step(field: VelocityField, x: Tensor, s: Level, t: Level) -> Tensor:
    """One trapezoidal step; d (x / alpha) / d (sigma / alpha) is the noise prediction."""
    # Euler's step to the end, d_i of the paper at its beginning.
    noise = predict_noise(field, s, x)
    x_t = noise_step(x, s, t, noise)
    # The trapezoidal rule with d_i' at that end.
    noise_end = predict_noise(field, t, x_t)
    return noise_step(x, s, t, 0.5 * (noise + noise_end))
