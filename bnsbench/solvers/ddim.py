"""DDIM: the data prediction held constant over each step."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor

from bnsbench.flows.fields import VelocityField
from bnsbench.solvers.grids import Grid
from bnsbench.solvers.levels import ddim_step, grid_levels, predict_data


def ddim(field: VelocityField, x0: Tensor, nfe: int, *, grid: Grid = "uniform") -> Tensor:
    """Deterministic DDIM (Song et al. 2021, Eq. 12 with eta = 0).

    Order 1, one evaluation a step.
    Also known as k-diffusion's euler and as diffusers' DDIMScheduler, EulerDiscreteScheduler and EDMEulerScheduler. The
    first order of DPM-Solver, DPM-Solver++, UniPC, DEIS, SA-Solver and ER-SDE-Solver is the same step.
    Not to be confused with `euler`, which is Euler's method on the velocity; on CondOT and EDM they agree.
    """
    x = x0
    for s, t in pairwise(grid_levels(field, grid, nfe)):
        x = ddim_step(x, s, t, predict_data(field, s, x))
    return x
