"""DDIM: the data prediction held constant over each step."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor

from bnsbench.flows.fields import VelocityField
from bnsbench.solvers.grids import Grid
from bnsbench.solvers.levels import ddim_step, grid_levels, predict_data


def ddim(field: VelocityField, x0: Tensor, nfe: int, *, grid: Grid = "uniform") -> Tensor:
    """DDIM without noise: the data prediction is held constant over each step.

    Order: 1. Stages: 1. One evaluation a step.

    Reference: Song et al. 2021, DDIM, arXiv 2010.02502, Eq. 12, with eta = 0.

    Also known as: k-diffusion's euler; diffusers' DDIMScheduler, EulerDiscreteScheduler and EDMEulerScheduler. The first
    order of DPM-Solver, DPM-Solver++, UniPC, DEIS, SA-Solver and ER-SDE-Solver is the same step.

    Not to be confused with: `euler`, Euler's method on the velocity; on CondOT and EDM the two agree.

    When to use it: as the first-order baseline on any path, and at very few evaluations.

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
    x = x0
    for s, t in pairwise(grid_levels(field, grid, nfe)):
        x = ddim_step(x, s, t, predict_data(field, s, x))
    return x
