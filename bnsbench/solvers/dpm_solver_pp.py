"""DPM-Solver++: exponential integrators in lambda on the data prediction (Lu et al. 2022, arXiv 2211.01095).

lambda = log(alpha / sigma), which the code calls log_snr, and h = lambda_t - lambda_s for a step from s to t. `ddim_step`
is the first-order step (sigma_t / sigma_s) x - alpha_t (exp(-h) - 1) D with the data prediction D.
"""

from __future__ import annotations

from functools import partial
from math import expm1

from torch import Tensor

from bnsbench.flows.fields import VelocityField
from bnsbench.solvers.exponential import two_value_step
from bnsbench.solvers.grids import Grid
from bnsbench.solvers.levels import Evaluation, Level, ddim_step, level_between, predict_data
from bnsbench.solvers.multistep import Update, multistep
from bnsbench.solvers.singlestep import singlestep


def dpm_solver_pp_2s(field: VelocityField, x0: Tensor, nfe: int, *, grid: Grid = "uniform") -> Tensor:
    """Singlestep DPM-Solver++(2S), an exponential midpoint rule on the data prediction.

    Order: 2. Stages: 1. Two evaluations a step (see ``grid``); an odd budget ends with a first-order step.

    Reference: Lu et al. 2022, DPM-Solver++, arXiv 2211.01095, Algorithm 1, with r = 1/2.

    Also known as: k-diffusion's dpmpp_2s_ancestral and dpmpp_sde at eta = 0; ComfyUI's seeds_2 at eta = 0; diffusers'
    DPMSolverSinglestepScheduler where the intermediate node lies in the middle of lambda.

    Not to be confused with: `dpm_solver_2`, on the noise prediction; `res_2s`, which weighs both of its values.

    When to use it: where a rule must not remember its past.

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


def dpm_solver_pp_2m(
    field: VelocityField, x0: Tensor, nfe: int, *, lower_order_final: bool = True, grid: Grid = "uniform"
) -> Tensor:
    """Multistep DPM-Solver++(2M): DDIM on the data prediction extrapolated to the middle of the step.

    Order: 2. Stages: 1. One evaluation a step; the first step is DDIM's.

    Reference: Lu et al. 2022, DPM-Solver++, arXiv 2211.01095, Algorithm 2.

    Also known as: diffusers' DPMSolverMultistepScheduler; with ``lower_order_final=False``, k-diffusion's dpmpp_2m and
    dpmpp_2m_sde at eta = 0.

    Not to be confused with: `res_multistep`, which integrates the same line exactly (solver_type heun elsewhere).

    When to use it: on guided diffusion models, at few evaluations.

    Args:
        field: Velocity field, with its path and time interval.
        x0: Initial states [batch, ...].
        nfe: Evaluations to spend, 1 or more.
        lower_order_final: Whether the last step is of first order, as the authors' code has it for small budgets.
        grid: Time grid of nfe steps (see `time_grid`).

    Returns:
        End states [batch, ...].

    Raises:
        UsageError: If the grid is unknown or does not fit the steps.
    """
    return multistep(field, x0, nfe, 2, grid, {2: midpoint_step}, lower_order_final=lower_order_final)


def dpm_solver_pp_3m(
    field: VelocityField,
    x0: Tensor,
    nfe: int,
    *,
    third_order: bool = False,
    lower_order_final: bool = True,
    grid: Grid = "uniform",
) -> Tensor:
    """Multistep DPM-Solver++(3M), which the authors' code adds to the paper: a parabola through three data predictions.

    Order: 2. Stages: 1. One evaluation a step. With ``third_order`` the steps in between have order 3.

    Reference: Lu et al. 2022, DPM-Solver++, arXiv 2211.01095, authors' code.

    Also known as: diffusers' DPMSolverMultistepScheduler with solver_order 3.

    Not to be confused with: k-diffusion's dpmpp_3m_sde, which is `dpm_solver_pp_3m_k` and has another second step.

    When to use it: as `dpm_solver_pp_2m`; with ``third_order`` on fine grids.

    Args:
        field: Velocity field, with its path and time interval.
        x0: Initial states [batch, ...].
        nfe: Evaluations to spend, 1 or more.
        third_order: Whether the second difference has its Taylor weight. In the authors' code, and so in diffusers, it has
            half of it, which makes the steps of second order.
        lower_order_final: Whether the last two steps are of order 2 and 1, as the authors' code has it for small budgets.
        grid: Time grid of nfe steps (see `time_grid`).

    Returns:
        End states [batch, ...].

    Raises:
        UsageError: If the grid is unknown or does not fit the steps.
    """
    updates: dict[int, Update] = {2: midpoint_step, 3: partial(parabola_step, weight=2.0 if third_order else 1.0)}
    return multistep(field, x0, nfe, 3, grid, updates, lower_order_final=lower_order_final)


def dpm_solver_pp_3m_k(field: VelocityField, x0: Tensor, nfe: int, *, grid: Grid = "uniform") -> Tensor:
    """DPM-Solver++(3M) as k-diffusion has it: a second step with the exact phi_2, then 3M's steps up to the end.

    Order: 2. Stages: 1. One evaluation a step.

    Reference: Lu et al. 2022, DPM-Solver++, arXiv 2211.01095, k-diffusion's code.

    Also known as: k-diffusion's dpmpp_3m_sde at eta = 0.

    Not to be confused with: `dpm_solver_pp_3m`, the authors' rule, whose second step is 2M's and whose last two steps are of
    lower order.

    When to use it: to compare with k-diffusion and ComfyUI.

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
    return multistep(field, x0, nfe, 3, grid, {2: two_value_step, 3: partial(parabola_step, weight=1.0)})


def second_order_step(field: VelocityField, x: Tensor, s: Level, t: Level) -> Tensor:
    """One step of Algorithm 1, with its midpoint in lambda."""
    # u, a first-order step to the middle.
    middle = level_between(field.path, s, t, 1 / 2)
    u = ddim_step(x, s, middle, predict_data(field, s, x))
    # The whole step, with the prediction at u.
    return ddim_step(x, s, t, predict_data(field, middle, u))


def midpoint_step(x: Tensor, past: list[Evaluation], t: Level) -> Tensor:
    """One step of Algorithm 2: D = (1 + 1 / (2 r)) D_s - 1 / (2 r) D_older, with r the last step's length by this one's."""
    newest, older = past
    s = newest.level
    r = (s.log_snr - older.level.log_snr) / (t.log_snr - s.log_snr)
    return ddim_step(x, s, t, newest.value + (newest.value - older.value) / (2 * r))


def parabola_step(x: Tensor, past: list[Evaluation], t: Level, weight: float) -> Tensor:
    """One step of 3M, with the slope and the second divided difference of the last three data predictions.

    Args:
        x: State at the newest prediction's level.
        past: The predictions, the newest first.
        t: Level at the step's end.
        weight: Of the second divided difference, which is half a second derivative: 2 is Taylor's weight, 1 the authors'.

    Returns:
        The state at t.
    """
    newest, older, oldest = past
    s = newest.level
    h = t.log_snr - s.log_snr
    # Divided differences in units of h: D1_0 and D1_1 over the last two steps, and from them ...
    r0 = (s.log_snr - older.level.log_snr) / h
    r1 = (older.level.log_snr - oldest.level.log_snr) / h
    d1_0, d1_1 = (newest.value - older.value) / r0, (older.value - oldest.value) / r1
    # ... the parabola's slope D1 at s, and its second difference D2.
    d1 = d1_0 + r0 / (r0 + r1) * (d1_0 - d1_1)
    d2 = (d1_0 - d1_1) / (r0 + r1)
    # h times phi_2(-h), and h times -phi_3(-h).
    phi_2 = expm1(-h) / h + 1
    phi_3 = phi_2 / h - 1 / 2
    return ddim_step(x, s, t, newest.value) + t.alpha * (phi_2 * d1 - weight * phi_3 * d2)
