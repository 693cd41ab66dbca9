"""Exponential integrators of second order in lambda on the data prediction, with the exact phi functions.

dx / d lambda is linear in x plus alpha D(lambda), D the data prediction, so that a step of h = lambda_t - lambda_s is

    x_t = (sigma_t / sigma_s) x_s + alpha_t h integral over theta from 0 to 1 of exp(-h (1 - theta)) D(lambda_s + theta h).

For D constant and linear in theta the integrals are phi_1(-h) and phi_2(-h) (Hochbruck & Ostermann 2010).
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from math import expm1

from torch import Tensor

from bnsbench.errors import UsageError
from bnsbench.flows.fields import VelocityField
from bnsbench.solvers.grids import Grid
from bnsbench.solvers.levels import Evaluation, Level, ddim_step, grid_levels, level_between, predict_data, recent
from bnsbench.solvers.singlestep import singlestep


def etd2rk(field: VelocityField, x0: Tensor, nfe: int, *, grid: Grid = "uniform") -> Tensor:
    """Exponential Heun, a second evaluation at the step's end (Cox & Matthews 2002, ETD2RK).

    Order 2, two evaluations a step; an odd budget ends with a first-order step. The same as ``res-2s[c2=1]``.
    Also known as ComfyUI's exp_heun_2_x0 and as its seeds_2 at eta = 0 with r = 1 and phi_2.
    Not to be confused with `edm_heun`, Heun's rule on the noise prediction over sigma / alpha.
    """
    return singlestep(field, x0, nfe, 2, grid, {2: partial(two_stage_step, c2=1.0)})


def res_2s(field: VelocityField, x0: Tensor, nfe: int, *, c2: float = 0.5, grid: Grid = "uniform") -> Tensor:
    """RES, single step: the exponential Runge-Kutta rule with two stages (Zhang et al. 2023, arXiv 2308.02157).

    Order 2, two evaluations a step; an odd budget ends with a first-order step.
    Also known as RES4LYF's res_2s and as ComfyUI's seeds_2 at eta = 0 with phi_2.
    Not to be confused with `dpm_solver_pp_2s`, which has phi_1(-h) / 2 in place of phi_2(-h): the value in the middle alone.

    c2: where the second stage lies, in steps, above 0 and up to 1.
    """
    if not 0 < c2 <= 1:
        raise UsageError(f"RES has its second stage at c2 above 0 and up to 1, not {c2:g}.")
    return singlestep(field, x0, nfe, 2, grid, {2: partial(two_stage_step, c2=c2)})


def res_multistep(field: VelocityField, x0: Tensor, nfe: int, *, grid: Grid = "uniform") -> Tensor:
    """RES, multistep: the line through the last two data predictions, integrated exactly (Zhang et al. 2023).

    Order 2, one evaluation a step.
    Also known as ComfyUI's res_multistep at eta = 0, and as k-diffusion's dpmpp_2m_sde at eta = 0 and diffusers'
    DPMSolverMultistepScheduler with solver_type heun.
    Not to be confused with `dpm_solver_pp_2m`, which extrapolates to the middle of the step and has lower_order_final.
    """
    x = x0
    history: list[Evaluation] = []
    for s, t in pairwise(grid_levels(field, grid, nfe)):
        history = [*history, Evaluation(s, predict_data(field, s, x))][-2:]
        past = recent(history, 2) if t.finite else []
        x = two_value_step(x, past, t) if len(past) == 2 else ddim_step(x, s, t, history[-1].value)
    return x


def two_stage_step(field: VelocityField, x: Tensor, s: Level, t: Level, c2: float) -> Tensor:
    """One exponential Runge-Kutta step: a21 = c2 phi_1(-c2 h), b1 = phi_1(-h) - b2, b2 = phi_2(-h) / c2."""
    # The stage: a first-order step over c2 h.
    middle = t if c2 == 1 else level_between(field.path, s, t, c2)
    first = predict_data(field, s, x)
    second = predict_data(field, middle, ddim_step(x, s, middle, first))
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
    b2 = _phi_2(-h) / c2
    b1 = _phi_1(-h) - b2
    return t.sigma / s.sigma * x + t.alpha * h * (b1 * first + b2 * second)


def _phi_1(z: float) -> float:
    return expm1(z) / z


def _phi_2(z: float) -> float:
    return (_phi_1(z) - 1) / z
