"""DPM-Solver: exponential integrators in lambda on the noise prediction (Lu et al. 2022, arXiv 2206.00927)."""

from __future__ import annotations

from math import expm1

from torch import Tensor

from bnsbench.flows.fields import VelocityField
from bnsbench.solvers.grids import Grid
from bnsbench.solvers.levels import Level, level_between, noise_step, predict_noise
from bnsbench.solvers.singlestep import singlestep


def dpm_solver_1(field: VelocityField, x0: Tensor, nfe: int, *, grid: Grid = "uniform") -> Tensor:
    """DPM-Solver-1, which is DDIM (Lu et al. 2022, Eq. 3.7 and Section 4.1).

    Order 1, one evaluation a step.
    """
    return singlestep(field, x0, nfe, 1, grid, {})


def dpm_solver_2(field: VelocityField, x0: Tensor, nfe: int, *, grid: Grid = "uniform") -> Tensor:
    """Singlestep DPM-Solver-2 (Lu et al. 2022, Algorithm 1).

    Order 2, two evaluations a step; an odd budget ends with a first-order step.
    Also known as k-diffusion's dpm_2 and diffusers' KDPM2DiscreteScheduler.
    Not to be confused with `dpm_solver_pp_2s`, on the data prediction.
    """
    return singlestep(field, x0, nfe, 2, grid, {2: second_order_step})


def dpm_solver_3(field: VelocityField, x0: Tensor, nfe: int, *, grid: Grid = "uniform") -> Tensor:
    """Singlestep DPM-Solver-3 (Lu et al. 2022, Algorithm 2).

    Order 2, since its last steps are of lower order (their "fast" schedule), and 3 before; three evaluations a step.
    Also known, on the grid "logsnr", as k-diffusion's dpm_fast.
    Not to be confused with `dpm_solver_pp_3m`, multistep and on the data prediction.
    """
    return singlestep(field, x0, nfe, 3, grid, {2: second_order_step, 3: third_order_step})


def second_order_step(field: VelocityField, x: Tensor, s: Level, t: Level) -> Tensor:
    """One step of Algorithm 1, with its midpoint in lambda."""
    middle = level_between(field.path, s, t, 1 / 2)
    noise = predict_noise(field, s, x)
    noise_middle = predict_noise(field, middle, noise_step(x, s, middle, noise))
    return noise_step(x, s, t, noise_middle)


def third_order_step(field: VelocityField, x: Tensor, s: Level, t: Level, r1: float = 1 / 3, r2: float = 2 / 3) -> Tensor:
    """One step of Algorithm 2."""
    s1, s2 = level_between(field.path, s, t, r1), level_between(field.path, s, t, r2)
    h = t.log_snr - s.log_snr
    noise = predict_noise(field, s, x)
    d1 = predict_noise(field, s1, noise_step(x, s, s1, noise)) - noise
    x2 = noise_step(x, s, s2, noise) - s2.sigma * r2 / r1 * (expm1(r2 * h) / (r2 * h) - 1) * d1
    d2 = predict_noise(field, s2, x2) - noise
    return noise_step(x, s, t, noise) - t.sigma / r2 * (expm1(h) / h - 1) * d2
