"""Solvers that make each step from the last data predictions: one evaluation a step, and what they share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise

from torch import Tensor

from bnsbench.flows.fields import VelocityField
from bnsbench.solvers.grids import Grid
from bnsbench.solvers.levels import Evaluation, Level, ddim_step, grid_levels, predict_data, recent

Update = Callable[[Tensor, list[Evaluation], Level], Tensor]
"""One step from a state to a level, with data predictions of finite lambda, the newest, at the step's beginning, first."""


def multistep(
    field: VelocityField,
    x0: Tensor,
    nfe: int,
    order: int,
    grid: Grid,
    updates: Mapping[int, Update],
    *,
    lower_order_final: bool = False,
) -> Tensor:
    """Sample with steps that take the last ``order`` data predictions.

    The first steps have fewer. A step that begins or ends where lambda is infinite is DDIM's, and history begins anew after
    such a beginning.

    Args:
        field: Velocity field, with its path and time interval.
        x0: Initial states [batch, ...].
        nfe: Evaluations to spend, which is the number of steps.
        order: Data predictions per step, 1 or more.
        grid: Time grid of nfe steps (see `time_grid`).
        updates: The step for each number of predictions above 1; with a single one, it is DDIM's.
        lower_order_final: Whether the last step takes one prediction, the one before it two, and so on, as DPM-Solver++'s
            authors have it for small budgets: the last step in lambda is often too long to extrapolate over.

    Returns:
        End states [batch, ...].
    """
    x = x0
    history: list[Evaluation] = []
    for i, (s, t) in enumerate(pairwise(grid_levels(field, grid, nfe))):
        history = [*history, Evaluation(s, predict_data(field, s, x))][-order:]
        values = min(order, nfe - i) if lower_order_final else order
        past = recent(history, values) if t.finite else []
        x = updates[len(past)](x, past, t) if len(past) > 1 else ddim_step(x, s, t, history[-1].value)
    return x
