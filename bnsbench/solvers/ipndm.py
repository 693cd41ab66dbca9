"""iPNDM: Adams-Bashforth weights for the noise prediction in a DDIM step (Zhang & Chen 2023, arXiv 2204.13902)."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from bnsbench.errors import UsageError
from bnsbench.flows.fields import VelocityField
from bnsbench.solvers.grids import Grid
from bnsbench.solvers.levels import Evaluation, Level, ddim_step, grid_levels, noise_step, predict_both, recent

ADAMS_BASHFORTH = {2: (3 / 2, -1 / 2), 3: (23 / 12, -16 / 12, 5 / 12), 4: (55 / 24, -59 / 24, 37 / 24, -9 / 24)}
"""Weights for two to four values, the newest first, where steps are equal."""


def ipndm(field: VelocityField, x0: Tensor, nfe: int, *, order: int = 4, grid: Grid = "uniform") -> Tensor:
    """The improved PNDM: Adams-Bashforth weights of equal steps in a DDIM step.

    Order: 2. Stages: 1. One evaluation a step. The first step is DDIM's, and the later ones, whose steps are not equal in
    sigma / alpha, have order 2 whatever the number of values.

    Reference: Zhang & Chen 2023, DEIS, arXiv 2204.13902.

    Also known as: diff-sampler's ipndm; diffusers' IPNDMScheduler, which takes v = alpha epsilon - sigma x1 as the model's
    output. ComfyUI's ipndm extrapolates the velocity on a flow model.

    Not to be confused with: PNDM, which begins with three Runge-Kutta steps of four evaluations each; `ab4`, which weighs
    the velocity by the steps' true sizes.

    When to use it: order 2 on unguided and guided models alike, order 4 on fine grids.

    Args:
        field: Velocity field, with its path and time interval.
        x0: Initial states [batch, ...].
        nfe: Evaluations to spend, 1 or more.
        order: Values per step, 1 to 4.
        grid: Time grid of nfe steps (see `time_grid`).

    Returns:
        End states [batch, ...].

    Raises:
        UsageError: If there is no such order, or the grid is unknown or does not fit the steps.
    """
    _check_order(order)
    x = x0
    noises: list[Tensor] = []
    for s, t in pairwise(grid_levels(field, grid, nfe)):
        data, noise = predict_both(field, s, x)
        noises = [noise, *noises[: order - 1]]
        # A single value takes DDIM's step, in the form that may begin at alpha = 0.
        weights = ADAMS_BASHFORTH.get(len(noises))
        x = noise_step(x, s, t, _sum(weights, noises)) if weights else ddim_step(x, s, t, data)
    return x


def ipndm_v(field: VelocityField, x0: Tensor, nfe: int, *, order: int = 3, grid: Grid = "uniform") -> Tensor:
    """iPNDM with weights for steps of any size in sigma / alpha, as diff-sampler's code has them.

    Order: 2. Stages: 1. One evaluation a step. With order 4 the weights sum to one only where the steps' ratios are equal,
    and need not converge elsewhere.

    Reference: Zhang & Chen 2023, DEIS, arXiv 2204.13902, diff-sampler's code.

    Also known as: with order 4, diff-sampler's ipndm_v, and so ComfyUI's.

    Not to be confused with: `deis` in rho, the Adams-Bashforth rule for such steps: from three values on, its weights are
    others.

    When to use it: to compare with diff-sampler and ComfyUI.

    Args:
        field: Velocity field, with its path and time interval.
        x0: Initial states [batch, ...].
        nfe: Evaluations to spend, 1 or more.
        order: Values per step, 1 to 4; the code's own default is 4.
        grid: Time grid of nfe steps (see `time_grid`).

    Returns:
        End states [batch, ...].

    Raises:
        UsageError: If there is no such order, or the grid is unknown or does not fit the steps.
    """
    _check_order(order)
    x = x0
    history: list[Evaluation] = []
    for s, t in pairwise(grid_levels(field, grid, nfe)):
        data, noise = predict_both(field, s, x)
        history = [*history, Evaluation(s, noise)][-order:]
        past = recent(history, order) if t.finite else []
        if len(past) > 1:
            x = noise_step(x, s, t, _sum(variable_weights(past, t), [evaluation.value for evaluation in past]))
        else:
            x = ddim_step(x, s, t, data)
    return x


def _check_order(order: int) -> None:
    if order not in (1, 2, 3, 4):
        raise UsageError(f"iPNDM has orders 1 to 4, not {order}.")


def _sum(weights: tuple[float, ...], values: list[Tensor]) -> Tensor:
    return torch.stack([weight * value for weight, value in zip(weights, values, strict=True)]).sum(0)


def variable_weights(past: list[Evaluation], t: Level) -> tuple[float, ...]:
    """The weights of diff-sampler's ipndm_v for steps of any size, by its code's names.

    h is the step's length in rho = sigma / alpha, and h1, h2, h3 are those before it; first, temp1 and temp2 weigh the
    first, second and third differences of the values. The Adams-Bashforth rule has the same first, but
    (1 - h / (3 (h + h1))) h (h + h1) / (2 h1 (h1 + h2)) for temp1, a minus between the two terms of temp2, and h2 / h3 in
    place of h1 / h2 in the weight of the oldest value.

    Args:
        past: Two to four values, the newest first.
        t: Level at the step's end.

    Returns:
        A weight for each value, the newest first.
    """
    rho = [t.rho, *(evaluation.level.rho for evaluation in past)]
    h, h1, *older = (newer - old for newer, old in pairwise(rho))
    # Two values: d0 + first (d0 - d1).
    first = h / h1 / 2
    if not older:
        return 1 + first, -first
    # Three: temp1 ((d0 - d1) - h1 / h2 (d1 - d2)) as well.
    h2, *oldest = older
    temp1 = (1 - h / (3 * (h + h1)) * (h * (h + h1)) / (h1 * (h1 + h2))) / 2
    ratio = h1 / h2
    if not oldest:
        return 1 + first + temp1, -first - (1 + ratio) * temp1, ratio * temp1
    # Four: temp2 times the third difference as well.
    h3 = oldest[0]
    temp2 = (1 - h / (3 * (h + h1))) / 2 + (1 - h / (2 * (h + h1))) * h / (6 * (h + h1 + h2))
    temp2 *= h * (h + h1) * (h + h1 + h2) / (h1 * (h1 + h2) * (h1 + h2 + h3))
    further = h1 * (h1 + h2) / (h2 * (h2 + h3))
    return (
        1 + first + temp1 + temp2,
        -first - (1 + ratio) * temp1 - (1 + ratio + further) * temp2,
        ratio * temp1 + (ratio + further * (1 + h2 / h3)) * temp2,
        -further * ratio * temp2,
    )
