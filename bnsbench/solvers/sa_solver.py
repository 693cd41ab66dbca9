"""SA-Solver without noise: Adams methods in lambda on the data prediction (Xue et al. 2023, arXiv 2309.05019)."""

from __future__ import annotations

from itertools import pairwise
from math import exp

import torch
from torch import Tensor

from bnsbench.errors import UsageError
from bnsbench.flows.fields import VelocityField
from bnsbench.solvers.grids import Grid
from bnsbench.solvers.interpolation import lagrange, quadrature
from bnsbench.solvers.levels import Evaluation, Level, ddim_step, grid_levels, predict_data, recent

HIGHEST_ORDER = 4


def sa_solver(
    field: VelocityField,
    x0: Tensor,
    nfe: int,
    *,
    predictor_order: int = 2,
    corrector_order: int = 2,
    simple_order_2: bool = True,
    lower_order_final: bool = True,
    grid: Grid = "uniform",
) -> Tensor:
    """SA-Solver at tau = 0: an Adams-Bashforth predictor, corrected by Adams-Moulton, in lambda.

    Order: 2. Stages: 1. One evaluation a step, which the corrector shares with the next predictor. The first step is DDIM's.

    Reference: Xue et al. 2023, SA-Solver, arXiv 2309.05019, Algorithm 1.

    Also known as: diffusers' SASolverScheduler with tau_func = 0; with 3 and 4 values, the exact weights and no lower last
    orders, ComfyUI's sa_solver at eta = 0.

    Not to be confused with: SA-Solver's usual tau = 1, which adds noise; `res_multistep`, a predictor of two values with the
    exact weights alone.

    When to use it: on fine grids in log-SNR; raise the orders there.

    Args:
        field: Velocity field, with its path and time interval.
        x0: Initial states [batch, ...].
        nfe: Evaluations to spend, 1 or more.
        predictor_order: Values per predictor step, 1 to 4.
        corrector_order: Values per corrector step, 1 to 4; 0 is no corrector.
        simple_order_2: Whether two values have the authors' weight h^2 / 2 for their slope, or the exact h - 1 + exp(-h).
        lower_order_final: Whether the orders fall towards the last step, the predictor's to 1.
        grid: Time grid of nfe steps (see `time_grid`).

    Returns:
        End states [batch, ...].

    Raises:
        UsageError: If there are no such orders, or the grid is unknown or does not fit the steps.
    """
    if predictor_order not in range(1, HIGHEST_ORDER + 1) or corrector_order not in range(HIGHEST_ORDER + 1):
        orders = f"{predictor_order} and {corrector_order}"
        raise UsageError(f"SA-Solver has predictors of order 1 to 4 and correctors of order 0 to 4, not {orders}.")
    x = before = x0
    history: list[Evaluation] = []
    for i, (s, t) in enumerate(pairwise(grid_levels(field, grid, nfe))):
        left = nfe - i if lower_order_final else HIGHEST_ORDER
        history = [*history, Evaluation(s, predict_data(field, s, x))][-HIGHEST_ORDER:]
        # Correct: the step to s once more, with the value at its end. It needs a finite lambda at its beginning.
        if corrector_order and len(recent(history, 2)) == 2:
            x = adams_step(before, history[-2].level, s, recent(history, min(corrector_order, left + 2)), simple_order_2)
        # Predict: the step to t with the values up to s.
        past = recent(history, min(predictor_order, left)) if t.finite else []
        before = x
        x = adams_step(x, s, t, past, simple_order_2) if past else ddim_step(x, s, t, history[-1].value)
    return x


def adams_step(x: Tensor, s: Level, t: Level, past: list[Evaluation], simple_order_2: bool) -> Tensor:
    """The Adams step for tau = 0, x_t = (sigma_t / sigma_s) x_s + sum_j b_j D_j.

    b_j = alpha_t integral from s to t of exp(lambda - lambda_t) l_j(lambda) d lambda, with the Lagrange polynomials l_j.

    Args:
        x: State at s.
        s: Level at the step's beginning.
        t: Level at the step's end.
        past: Data predictions D_j, the newest first: at s and before it (Bashforth), or at t and before it (Moulton).
        simple_order_2: See `sa_solver`.

    Returns:
        The state at t.
    """
    # b_j by quadrature.
    log_snr, d_log_snr = quadrature(s.log_snr, t.log_snr)
    nodes = torch.tensor([evaluation.level.log_snr for evaluation in past], dtype=torch.float64)
    l_j = lagrange(nodes, log_snr)
    b: list[float] = (t.alpha * l_j @ (torch.exp(log_snr - t.log_snr) * d_log_snr)).tolist()
    # The authors' code weighs the slope of two values by h^2 / 2, to which h - 1 + exp(-h) tends for short steps.
    if simple_order_2 and len(past) == 2:
        h = t.log_snr - s.log_snr
        further = t.alpha * (h**2 / 2 - (h - 1 + exp(-h))) / float(nodes[0] - nodes[1])
        b = [b[0] + further, b[1] - further]
    x_t = t.sigma / s.sigma * x
    for b_j, evaluation in zip(b, past, strict=True):
        x_t = x_t + b_j * evaluation.value
    return x_t
