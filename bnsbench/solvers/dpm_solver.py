"""DPM-Solver: exponential integrators in lambda on the noise prediction (Lu et al. 2022, arXiv 2206.00927).

lambda = log(alpha / sigma), which the code calls log_snr, and h = lambda_t - lambda_s for a step from s to t. `noise_step`
is the first-order step (alpha_t / alpha_s) x - sigma_t (exp(h) - 1) epsilon.
"""

from __future__ import annotations

from math import expm1

from torch import Tensor

from bnsbench.flows.fields import VelocityField
from bnsbench.solvers.grids import Grid
from bnsbench.solvers.levels import Level, level_between, noise_step, predict_noise
from bnsbench.solvers.singlestep import singlestep


def dpm_solver_1(field: VelocityField, x0: Tensor, nfe: int, *, grid: Grid = "uniform") -> Tensor:
    """DPM-Solver-1, which is DDIM (Section 4.1 of the paper).

    Order: 1. Stages: 1. One evaluation a step.

    Reference: Lu et al. 2022, DPM-Solver, arXiv 2206.00927, Eq. 3.7.

    Also known as: `ddim`, and by all of its names.

    When to use it: it does nothing that `ddim` does not do.

    Args:
        field: Velocity field, with its path and time interval.
        x0: Initial states [batch, ...].
        nfe: Evaluations to spend, 1 or more.
        grid: Time grid of nfe steps (see `time_grid`).

    Returns:
        End states [batch, ...].

    Raises:
        UsageError: If the grid is unknown or does not fit the steps.
    """
    return singlestep(field, x0, nfe, 1, grid, {})


def dpm_solver_2(field: VelocityField, x0: Tensor, nfe: int, *, grid: Grid = "uniform") -> Tensor:
    """Singlestep DPM-Solver-2, an exponential midpoint rule on the noise prediction.

    Order: 2. Stages: 1. Two evaluations a step (see ``grid``); an odd budget ends with a first-order step.

    Reference: Lu et al. 2022, DPM-Solver, arXiv 2206.00927, Algorithm 1.

    Also known as: k-diffusion's dpm_2; diffusers' KDPM2DiscreteScheduler, and its DPMSolverSinglestepScheduler with
    algorithm_type dpmsolver where the intermediate node lies in the middle of lambda.

    Not to be confused with: `dpm_solver_pp_2s`, on the data prediction.

    When to use it: on noise predictions without guidance, at ten evaluations and more.

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
    return singlestep(field, x0, nfe, 2, grid, {2: second_order_step})


def dpm_solver_3(field: VelocityField, x0: Tensor, nfe: int, *, grid: Grid = "uniform") -> Tensor:
    """Singlestep DPM-Solver-3, an exponential rule with stages at one and two thirds, on the noise prediction.

    Order: 2. Stages: 1. Three evaluations a step (see ``grid``). Order 3 before the last steps, which are of lower order,
    as in the paper's "DPM-Solver-fast".

    Reference: Lu et al. 2022, DPM-Solver, arXiv 2206.00927, Algorithm 2.

    Also known as: on the grid "logsnr", k-diffusion's dpm_fast. In diffusers' DPMSolverSinglestepScheduler the second stage
    is that of its solver_type heun and the end that of midpoint.

    Not to be confused with: `dpm_solver_pp_3m`, multistep and on the data prediction.

    When to use it: as `dpm_solver_2`, on the grid "logsnr".

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
    return singlestep(field, x0, nfe, 3, grid, {2: second_order_step, 3: third_order_step})


def second_order_step(field: VelocityField, x: Tensor, s: Level, t: Level) -> Tensor:
    """One step of Algorithm 1, with its midpoint in lambda."""
    # u, a first-order step to the middle.
    middle = level_between(field.path, s, t, 1 / 2)
    u = noise_step(x, s, middle, predict_noise(field, s, x))
    # The whole step, with the prediction at u.
    return noise_step(x, s, t, predict_noise(field, middle, u))


def third_order_step(field: VelocityField, x: Tensor, s: Level, t: Level, r1: float = 1 / 3, r2: float = 2 / 3) -> Tensor:
    """One step of Algorithm 2, with its stages at the fractions r1 and r2 of the step in lambda."""
    s1, s2 = level_between(field.path, s, t, r1), level_between(field.path, s, t, r2)
    h = t.log_snr - s.log_snr
    noise = predict_noise(field, s, x)
    # u_1, a first-order step to s1, and D_1, the change of the prediction up to there.
    u1 = noise_step(x, s, s1, noise)
    d1 = predict_noise(field, s1, u1) - noise
    # u_2, to s2 with the slope D_1 / r1, and D_2.
    u2 = noise_step(x, s, s2, noise) - s2.sigma * r2 / r1 * (expm1(r2 * h) / (r2 * h) - 1) * d1
    d2 = predict_noise(field, s2, u2) - noise
    # The whole step, with the slope D_2 / r2.
    return noise_step(x, s, t, noise) - t.sigma / r2 * (expm1(h) / h - 1) * d2
