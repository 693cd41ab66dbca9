"""Exponential integrators of second order in lambda on the data prediction, with the exact phi functions.

dx / d lambda is linear in x plus alpha D(lambda), D the data prediction, so that a step of h = lambda_t - lambda_s is

    x_t = (sigma_t / sigma_s) x_s + alpha_t h integral over theta from 0 to 1 of exp(-h (1 - theta)) D(lambda_s + theta h).

For D constant and linear in theta the integrals are phi_1(-h) and phi_2(-h) (Hochbruck & Ostermann 2010).
"""

from __future__ import annotations

from functools import partial
from math import expm1

from torch import Tensor

from bnsbench.errors import UsageError
from bnsbench.flows.fields import VelocityField
from bnsbench.solvers.grids import Grid
from bnsbench.solvers.levels import Evaluation, Level, ddim_step, level_between, predict_data
from bnsbench.solvers.multistep import multistep
from bnsbench.solvers.singlestep import singlestep


def etd2rk(field: VelocityField, x0: Tensor, nfe: int, *, grid: Grid = "uniform") -> Tensor:
    """Exponential Heun: evaluations at both ends of the step, and the line through them integrated exactly.

    Order: 2. Stages: 1. Two evaluations a step (see ``grid``); an odd budget ends with a first-order step.

    Reference: Cox & Matthews 2002, J. Comput. Phys. 176, ETD2RK, doi 10.1006/jcph.2002.6995.

    Also known as: ComfyUI's exp_heun_2_x0, and its seeds_2 at eta = 0 with r = 1 and phi_2; `res_2s` with c2 = 1.

    Not to be confused with: `edm_heun`, Heun's rule on the noise prediction over sigma / alpha.

    When to use it: to compare with exponential integrators elsewhere.

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
    return singlestep(field, x0, nfe, 2, grid, {2: partial(two_stage_step, c2=1.0)})


def res_2s(field: VelocityField, x0: Tensor, nfe: int, *, c2: float = 0.5, grid: Grid = "uniform") -> Tensor:
    """RES, single step: the exponential Runge-Kutta rule with two stages, the second at c2.

    Order: 2. Stages: 1. Two evaluations a step (see ``grid``); an odd budget ends with a first-order step.

    Reference: Zhang et al. 2023, RES, arXiv 2308.02157.

    Also known as: RES4LYF's res_2s; ComfyUI's seeds_2 at eta = 0 with phi_2.

    Not to be confused with: `dpm_solver_pp_2s`, which has phi_1(-h) / 2 in place of phi_2(-h): with c2 = 1/2 it takes the
    middle's value alone.

    When to use it: on fine grids in log-SNR; c2 moves the second stage.

    Args:
        field: Velocity field, with its path and time interval.
        x0: Initial states [batch, ...].
        nfe: Evaluations to spend, 1 or more.
        c2: Where the second stage lies, in steps, above 0 and up to 1.
        grid: Time grid with a node for each step if it is made of noise levels, and otherwise for each evaluation
            (see `time_grid`).

    Returns:
        End states [batch, ...].

    Raises:
        UsageError: If c2 is out of its range, or the grid is unknown or does not fit the steps.
    """
    if not 0 < c2 <= 1:
        raise UsageError(f"RES has its second stage at c2 above 0 and up to 1, not {c2:g}.")
    return singlestep(field, x0, nfe, 2, grid, {2: partial(two_stage_step, c2=c2)})


def res_multistep(field: VelocityField, x0: Tensor, nfe: int, *, grid: Grid = "uniform") -> Tensor:
    """RES, multistep: the line through the last two data predictions, integrated exactly.

    Order: 2. Stages: 1. One evaluation a step; the first step is DDIM's.

    Reference: Zhang et al. 2023, RES, arXiv 2308.02157.

    Also known as: ComfyUI's res_multistep at eta = 0; k-diffusion's dpmpp_2m_sde at eta = 0 and diffusers'
    DPMSolverMultistepScheduler, both with solver_type heun.

    Not to be confused with: `dpm_solver_pp_2m`, which takes the line's value in the middle of the step and has
    lower_order_final.

    When to use it: on fine grids in log-SNR.

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
    return multistep(field, x0, nfe, 2, grid, {2: two_value_step})


def two_stage_step(field: VelocityField, x: Tensor, s: Level, t: Level, c2: float) -> Tensor:
    """One exponential Runge-Kutta step: a21 = c2 phi_1(-c2 h), b1 = phi_1(-h) - b2, b2 = phi_2(-h) / c2."""
    # The stage at c2, by a first-order step over c2 h.
    middle = t if c2 == 1 else level_between(field.path, s, t, c2)
    first = predict_data(field, s, x)
    second = predict_data(field, middle, ddim_step(x, s, middle, first))
    # The whole step, with the line through both values.
    return _linear_step(x, s, t, first, second, c2)


def two_value_step(x: Tensor, past: list[Evaluation], t: Level) -> Tensor:
    """One step with the line through two values, the newest at its beginning: the same rule with c2 below 0."""
    newest, older = past
    s = newest.level
    c2 = (older.level.log_snr - s.log_snr) / (t.log_snr - s.log_snr)
    return _linear_step(x, s, t, newest.value, older.value, c2)


def _linear_step(x: Tensor, s: Level, t: Level, first: Tensor, second: Tensor, c2: float) -> Tensor:
    """x_t for the line D(theta) with D(0) = first and D(c2) = second."""
    h = t.log_snr - s.log_snr
    # D(theta) = first + theta / c2 (second - first): the constant has the weight phi_1, theta has phi_2.
    b2 = _phi_2(-h) / c2
    b1 = _phi_1(-h) - b2
    return t.sigma / s.sigma * x + t.alpha * h * (b1 * first + b2 * second)


def _phi_1(z: float) -> float:
    """The integral of exp((1 - theta) z) over theta from 0 to 1."""
    return expm1(z) / z


def _phi_2(z: float) -> float:
    """The integral of exp((1 - theta) z) theta."""
    return (_phi_1(z) - 1) / z
