"""The gradient-estimation sampler (Permenter & Yuan 2023, arXiv 2306.04848)."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor

from bnsbench.flows.fields import VelocityField
from bnsbench.solvers.grids import Grid
from bnsbench.solvers.levels import ddim_step, grid_levels, noise_step, predict_both


def gradient_estimation(field: VelocityField, x0: Tensor, nfe: int, *, gamma: float = 2.0, grid: Grid = "uniform") -> Tensor:
    """DDIM with the noise prediction gamma epsilon_t + (1 - gamma) epsilon_{t-1}.

    Order: 1. Stages: 1. One evaluation a step. gamma = 2 extrapolates to the step's end; to its middle, gamma = 1.5, would
    have order 2.

    Reference: Permenter & Yuan 2023, arXiv 2306.04848.

    Also known as: ComfyUI's gradient_estimation, which on a flow model extrapolates the velocity instead.

    Not to be confused with: `ipndm` of order 2, which is gamma = 1.5.

    When to use it: at few evaluations, on a grid that ends with short steps.

    Args:
        field: Velocity field, with its path and time interval.
        x0: Initial states [batch, ...].
        nfe: Evaluations to spend, 1 or more.
        gamma: How far the newest value is extrapolated, as a share of its change since the one before; 1 is DDIM.
        grid: Time grid of nfe steps (see `time_grid`).

    Returns:
        End states [batch, ...].

    Raises:
        UsageError: If the grid is unknown or does not fit the steps.
    """
    x = x0
    before: Tensor | None = None
    for s, t in pairwise(grid_levels(field, grid, nfe)):
        data, noise = predict_both(field, s, x)
        if before is None or not t.finite:
            # The first step, which may begin at alpha = 0, and a step to sigma = 0 are DDIM's.
            x = ddim_step(x, s, t, data)
        else:
            x = noise_step(x, s, t, gamma * noise + (1 - gamma) * before)
        before = noise
    return x
