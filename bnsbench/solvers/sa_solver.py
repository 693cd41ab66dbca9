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
    """SA-Solver at tau = 0: Adams-Bashforth, corrected by Adams-Moulton (Xue et al. 2023, Algorithm 1).

    Order 2, since the first step is DDIM's; one evaluation a step, which the corrector shares with the next predictor.
    Also known as diffusers' SASolverScheduler with tau_func = 0, and with 3 and 4 values and the exact weights as ComfyUI's
    sa_solver at eta = 0.
    Not to be confused with SA-Solver's usual tau = 1, which adds noise, nor with `res_multistep`, a predictor of two values
    with the exact weights alone.

    predictor_order, corrector_order: values per step, 1 to 4; a corrector of order 0 is none.
    simple_order_2: whether two values have the authors' weight h^2 / 2 for their slope, or the exact h - 1 + exp(-h).
    lower_order_final: whether the orders fall towards the last step, the predictor's to 1.
    """
    if predictor_order not in range(1, 5) or corrector_order not in range(5):
        orders = f"{predictor_order} and {corrector_order}"
        raise UsageError(f"SA-Solver has predictors of order 1 to 4 and correctors of order 0 to 4, not {orders}.")
    x = before = x0
    history: list[Evaluation] = []
    for i, (s, t) in enumerate(pairwise(grid_levels(field, grid, nfe))):
        left = nfe - i if lower_order_final else 4
        history = [*history, Evaluation(s, predict_data(field, s, x))][-4:]
        # Correct: the step to s once more, with the value at its end. It needs a finite lambda at its beginning.
        if corrector_order and len(recent(history, 2)) == 2:
            x = _adams(before, history[-2].level, s, recent(history, min(corrector_order, left + 2)), simple_order_2)
        # Predict: the step to t with the values up to s.
        past = recent(history, min(predictor_order, left)) if t.finite else []
        before = x
        x = _adams(x, s, t, past, simple_order_2) if past else ddim_step(x, s, t, history[-1].value)
    return x


def _adams(x: Tensor, s: Level, t: Level, past: list[Evaluation], simple_order_2: bool) -> Tensor:
    """x_t = (sigma_t / sigma_s) x_s + sum_j b_j D_j, the Adams step for tau = 0.

    b_j = alpha_t integral from s to t of exp(lambda - lambda_t) l_j(lambda), with the Lagrange polynomials of the values.
    """
    log_snr, weights = quadrature(s.log_snr, t.log_snr)
    nodes = torch.tensor([evaluation.level.log_snr for evaluation in past], dtype=torch.float64)
    b: list[float] = (t.alpha * lagrange(nodes, log_snr) @ (torch.exp(log_snr - t.log_snr) * weights)).tolist()
    if simple_order_2 and len(past) == 2:
        h = t.log_snr - s.log_snr
        further = t.alpha * (h**2 / 2 - (h - 1 + exp(-h))) / float(nodes[0] - nodes[1])
        b = [b[0] + further, b[1] - further]
    x_t = t.sigma / s.sigma * x
    for b_j, evaluation in zip(b, past, strict=True):
        x_t = x_t + b_j * evaluation.value
    return x_t
