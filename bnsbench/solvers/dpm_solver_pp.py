"""DPM-Solver++: exponential integrators in lambda on the data prediction (Lu et al. 2022, arXiv 2211.01095)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from math import expm1

from torch import Tensor

from bnsbench.flows.fields import VelocityField
from bnsbench.solvers.exponential import two_value_step
from bnsbench.solvers.grids import Grid
from bnsbench.solvers.levels import Evaluation, Level, ddim_step, grid_levels, level_between, predict_data, recent
from bnsbench.solvers.singlestep import singlestep


def dpm_solver_pp_2s(field: VelocityField, x0: Tensor, nfe: int, *, grid: Grid = "uniform") -> Tensor:
    """Singlestep DPM-Solver++(2S) (Lu et al. 2022, Algorithm 1).

    Order 2, two evaluations a step; an odd budget ends with a first-order step.
    Also known as k-diffusion's dpmpp_2s_ancestral and dpmpp_sde at eta = 0, ComfyUI's seeds_2 at eta = 0, and diffusers'
    DPMSolverSinglestepScheduler.
    Not to be confused with `dpm_solver_2`, on the noise prediction, nor with `res_2s`, which takes both values.
    """
    return singlestep(field, x0, nfe, 2, grid, {2: second_order_step})


def dpm_solver_pp_2m(
    field: VelocityField, x0: Tensor, nfe: int, *, lower_order_final: bool = True, grid: Grid = "uniform"
) -> Tensor:
    """Multistep DPM-Solver++(2M) (Lu et al. 2022, Algorithm 2).

    Order 2, one evaluation a step.
    Also known as diffusers' DPMSolverMultistepScheduler, and with ``lower_order_final=false`` as k-diffusion's dpmpp_2m and
    dpmpp_2m_sde at eta = 0.
    Not to be confused with `res_multistep`, which integrates the same line exactly (solver_type heun elsewhere).

    lower_order_final: whether the last step is of first order, as the authors' code has it for small budgets.
    """
    return _multistep(field, x0, nfe, 2, lower_order_final, grid)


def dpm_solver_pp_3m(
    field: VelocityField,
    x0: Tensor,
    nfe: int,
    *,
    third_order: bool = False,
    lower_order_final: bool = True,
    grid: Grid = "uniform",
) -> Tensor:
    """Multistep DPM-Solver++(3M), which the authors' code adds to the paper.

    Order 2, one evaluation a step; order 3 after its first steps with ``third_order``.
    Also known as diffusers' DPMSolverMultistepScheduler with solver_order 3.
    Not to be confused with k-diffusion's dpmpp_3m_sde, whose second step is another (`dpm_solver_pp_3m_k`).

    lower_order_final: whether the last two steps are of order 2 and 1, as the authors' code has it for small budgets.
    third_order: whether the second difference has its Taylor weight. In the authors' code, and so in diffusers, it has half
        of it, which makes the steps of second order.
    """
    return _multistep(field, x0, nfe, 3, lower_order_final, grid, 2.0 if third_order else 1.0)


def dpm_solver_pp_3m_k(field: VelocityField, x0: Tensor, nfe: int, *, grid: Grid = "uniform") -> Tensor:
    """DPM-Solver++(3M) as k-diffusion has it: a second step with the exact phi_2, then 3M's steps up to the end.

    Order 2, one evaluation a step.
    Also known as k-diffusion's dpmpp_3m_sde at eta = 0.
    Not to be confused with `dpm_solver_pp_3m`, the authors' rule, whose second step is 2M's and whose last ones are lower.
    """
    return _multistep(field, x0, nfe, 3, False, grid, two_values=two_value_step)


def second_order_step(field: VelocityField, x: Tensor, s: Level, t: Level) -> Tensor:
    """One step of Algorithm 1 with r = 1/2."""
    middle = level_between(field.path, s, t, 1 / 2)
    data = predict_data(field, s, x)
    return ddim_step(x, s, t, predict_data(field, middle, ddim_step(x, s, middle, data)))


def _two_values(x: Tensor, past: list[Evaluation], t: Level) -> Tensor:
    """One step of Algorithm 2: the data prediction extrapolated to the middle of the step."""
    newest, older = past
    s = newest.level
    r = (s.log_snr - older.level.log_snr) / (t.log_snr - s.log_snr)
    return ddim_step(x, s, t, newest.value + (newest.value - older.value) / (2 * r))


def _three_values(x: Tensor, past: list[Evaluation], t: Level, weight: float) -> Tensor:
    """One step with the slope and the second divided difference of the data prediction, which is half its derivative."""
    newest, older, oldest = past
    s = newest.level
    h = t.log_snr - s.log_snr
    r0 = (s.log_snr - older.level.log_snr) / h
    r1 = (older.level.log_snr - oldest.level.log_snr) / h
    slope0, slope1 = (newest.value - older.value) / r0, (older.value - oldest.value) / r1
    d1 = slope0 + r0 / (r0 + r1) * (slope0 - slope1)
    d2 = (slope0 - slope1) / (r0 + r1)
    phi2 = expm1(-h) / h + 1
    phi3 = phi2 / h - 1 / 2
    return ddim_step(x, s, t, newest.value) + t.alpha * (phi2 * d1 - weight * phi3 * d2)


def _multistep(
    field: VelocityField,
    x0: Tensor,
    nfe: int,
    order: int,
    lower_order_final: bool,
    grid: Grid,
    weight: float = 1.0,
    two_values: Callable[[Tensor, list[Evaluation], Level], Tensor] = _two_values,
) -> Tensor:
    """Steps with the last ``order`` data predictions.

    lower_order_final: whether the order falls to 1 in the last step (and to 2 in the one before), as the authors' code has
        it for small budgets, where the last step in lambda is often too long to extrapolate over.
    weight: as in `_three_values`. two_values: the step with two values.
    """
    x = x0
    history: list[Evaluation] = []
    for i, (s, t) in enumerate(pairwise(grid_levels(field, grid, nfe))):
        history.append(Evaluation(s, predict_data(field, s, x)))
        values = min(order, nfe - i) if lower_order_final else order
        past = recent(history, values) if t.finite else []
        if len(past) == 3:
            x = _three_values(x, past, t, weight)
        elif len(past) == 2:
            x = two_values(x, past, t)
        else:
            x = ddim_step(x, s, t, history[-1].value)
    return x
