"""Output caches: Euler's method with steps that the network sits out, since its answer is guessed from earlier ones.

Practitioners take a sampler of N steps and leave the network out of most of them. Here a grid has a step for each
evaluation, as every other solver's, and each of its steps is divided into ``every`` equal ones, of which only the first asks
the network. What caches inside of networks do, for single blocks or tokens, needs the network, and is not this.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from bnsbench.errors import UsageError
from bnsbench.flows.fields import VelocityField
from bnsbench.solvers.grids import Grid, time_grid

Guess = Callable[[float, Tensor], Tensor]
"""From a time and the state there to the velocity that the network would have, about."""


def taylor(field: VelocityField, x0: Tensor, nfe: int, *, every: int = 3, order: int = 1, grid: Grid = "uniform") -> Tensor:
    """Euler's method in steps of which one in ``every`` asks the network; the others take a Taylor polynomial.

    Order: 1. Stages: 1. One evaluation a step of the grid.

    The derivatives are divided differences of the last evaluations: u(t) is about u_i + h u[t_i, t_{i-1}]
    + h^2 u[t_i, t_{i-1}, t_{i-2}] with h = t - t_i; the first evaluations have fewer terms.

    Reference: Liu et al. 2025, TaylorSeer, arXiv 2503.06923, on the network's output instead of its features.

    Not to be confused with: `ab2` and its like, which integrate such a polynomial instead of summing it up, and interpolate.

    When to use it: to see what caching the output is worth beside solvers of the same number of evaluations.

    Args:
        field: Velocity field, with its path and time interval.
        x0: Initial states [batch, ...].
        nfe: Evaluations to spend, 1 or more.
        every: Steps for each evaluation, 1 or more; 1 is Euler's method.
        order: Of the Taylor polynomial, 0 or more; 0 keeps the last answer, which on any grid is Euler's method.
        grid: Time grid of nfe steps (see `time_grid`), each divided into ``every`` equal ones.

    Returns:
        End states [batch, ...].

    Raises:
        UsageError: If the grid is unknown or does not fit the steps, or ``every`` or ``order`` is too small.
    """
    if order < 0:
        raise UsageError(f"The order of a Taylor polynomial is 0 or more, not {order}.")
    times: list[float] = []
    differences: list[Tensor] = []

    def learn(t: float, x: Tensor, u: Tensor) -> Guess:
        del x
        nonlocal differences
        # u[t_i], u[t_i, t_{i-1}], ...: each from its neighbour and the one of the evaluation before.
        newest, before = [u], differences
        for k in range(min(order, len(times))):
            newest.append((newest[k] - before[k]) / (t - times[-1 - k]))
        times.append(t)
        differences = newest

        def guess(later: float, state: Tensor) -> Tensor:
            del state
            found = newest[0]
            for k, difference in enumerate(newest[1:], 1):
                found = found + (later - t) ** k * difference
            return found

        return guess

    return _cached(field, x0, nfe, every, grid, learn)


def easycache(field: VelocityField, x0: Tensor, nfe: int, *, every: int = 3, grid: Grid = "uniform") -> Tensor:
    """Euler's method in steps of which one in ``every`` asks the network; the others add what it last added to its state.

    Order: 1. Stages: 1. One evaluation a step of the grid.

    u(x, t) is about x + (u_i - x_i). EasyCache chooses by a threshold which steps ask the network; here it is every k-th.

    Reference: Zhou et al. 2025, EasyCache, arXiv 2507.02860, with evaluations at fixed steps.

    Not to be confused with: EasyCache as published, whose threshold lets each prompt have another number of evaluations.

    When to use it: to see what caching the output is worth beside solvers of the same number of evaluations.

    Args:
        field: Velocity field, with its path and time interval.
        x0: Initial states [batch, ...].
        nfe: Evaluations to spend, 1 or more.
        every: Steps for each evaluation, 1 or more; 1 is Euler's method.
        grid: Time grid of nfe steps (see `time_grid`), each divided into ``every`` equal ones.

    Returns:
        End states [batch, ...].

    Raises:
        UsageError: If the grid is unknown or does not fit the steps, or ``every`` is too small.
    """

    def learn(t: float, x: Tensor, u: Tensor) -> Guess:
        del t
        added = u - x

        def guess(later: float, state: Tensor) -> Tensor:
            del later
            return state + added

        return guess

    return _cached(field, x0, nfe, every, grid, learn)


def _cached(
    field: VelocityField,
    x0: Tensor,
    nfe: int,
    every: int,
    grid: Grid,
    learn: Callable[[float, Tensor, Tensor], Guess],
) -> Tensor:
    """Return Euler's end states, with the network asked at the grid's times and guessed at those between.

    learn: from a time, the state and the network's answer to how it is guessed from there on.
    """
    if every < 1:
        raise UsageError(f"A cache asks the network once in every 1 or more steps, not {every}.")
    times, x = time_grid(grid, field.path, field.interval, nfe), x0
    for begin, end in pairwise(times):
        velocity = field(begin.to(x.device), x)
        guess = learn(float(begin), x, velocity)
        inner = torch.linspace(float(begin), float(end), every + 1, dtype=torch.float64).tolist()
        for k, (t, later) in enumerate(pairwise(inner)):
            x = x + (later - t) * (guess(t, x) if k else velocity)
    return x
