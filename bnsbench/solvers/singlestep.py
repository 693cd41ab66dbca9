"""Solvers that make each step on its own, from several evaluations: how a budget is dealt out to their steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import accumulate, pairwise

import torch
from torch import Tensor

from bnsbench.flows.fields import VelocityField
from bnsbench.solvers.grids import Grid, in_noise_levels
from bnsbench.solvers.levels import Level, ddim_step, grid_levels, levels_at, predict_data

Update = Callable[[VelocityField, Tensor, Level, Level], Tensor]
"""One step from a state at the first level to the second, both of finite lambda."""


def singlestep(field: VelocityField, x0: Tensor, nfe: int, order: int, grid: Grid, updates: Mapping[int, Update]) -> Tensor:
    """Sample with steps of up to ``order`` evaluations, none of which knows the one before.

    Args:
        field: Velocity field, with its path and time interval.
        x0: Initial states [batch, ...].
        nfe: Evaluations to spend, 1 or more.
        order: Evaluations of a full step, 1 to 3.
        grid: Time grid with a node for each step if it is made of noise levels, and otherwise for each evaluation.
        updates: The step of each order above 1; that of order 1 is DDIM's.

    Returns:
        End states [batch, ...].
    """
    x = x0
    begin, end = levels_at(field.path, torch.tensor(field.interval, dtype=torch.float64))
    orders = step_orders(nfe, order, begin, end)
    for k, (s, t) in zip(orders, pairwise(_levels(field, orders, grid)), strict=True):
        x = ddim_step(x, s, t, predict_data(field, s, x)) if k == 1 else updates[k](field, x, s, t)
    return x


def step_orders(nfe: int, order: int, begin: Level, end: Level) -> list[int]:
    """The orders of the steps, which sum up to nfe (Lu et al. 2022, "DPM-Solver-fast").

    They are as high as possible, except that third-order steps to a finite lambda end in a step of order 2 or 1, and that a
    step that begins or ends at an infinite lambda is of order 1.

    Args:
        nfe: Evaluations to spend, 1 or more.
        order: Highest order of a step, 1 to 3.
        begin: Level at the interval's beginning.
        end: Level at the interval's end.

    Returns:
        An order for each step.
    """
    first = [] if begin.finite else [1]
    last = [] if end.finite or nfe == len(first) else [1]
    # Full steps, and one of lower order for the rest.
    full, rest = divmod(nfe - len(first) - len(last), order)
    middle = [order] * full + [rest] * (rest > 0)
    # The paper's schedule for budgets that are multiples of three: the last full step becomes one of order 2 and one of 1.
    if order == 3 and rest == 0 and full and not last:
        middle = [3] * (full - 1) + [2, 1]
    return first + middle + last


def _levels(field: VelocityField, orders: list[int], grid: Grid) -> list[Level]:
    """Steps as the grid has them if it is made of noise levels, and otherwise as long as they have evaluations.

    The papers choose the former; DPM-Solver's authors choose the latter in their code for grids in time, so that a last step
    of low order is a short one. Times that are given as they are may be those of either.
    """
    if in_noise_levels(grid) or (isinstance(grid, Tensor) and len(grid) == len(orders) + 1):
        return grid_levels(field, grid, len(orders))
    levels = grid_levels(field, grid, sum(orders))
    return [levels[i] for i in (0, *accumulate(orders))]
