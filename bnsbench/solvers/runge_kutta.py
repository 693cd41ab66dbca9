"""Explicit Runge-Kutta methods on the velocity, in the path's own time."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from bnsbench.flows.fields import VelocityField
from bnsbench.solvers.grids import Grid, time_grid


@dataclass(frozen=True)
class Tableau:
    """A Butcher tableau of an explicit method.

    Args:
        c: Stage times [stages], as parts of the step.
        a: Stage weights [stages]; row i has i numbers.
        b: The step's weights [stages].
    """

    c: tuple[float, ...]
    a: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]


EULER = Tableau((0,), ((),), (1,))
MIDPOINT = Tableau((0, 1 / 2), ((), (1 / 2,)), (0, 1))
HEUN = Tableau((0, 1), ((), (1,)), (1 / 2, 1 / 2))
RALSTON = Tableau((0, 2 / 3), ((), (2 / 3,)), (1 / 4, 3 / 4))
KUTTA3 = Tableau((0, 1 / 2, 1), ((), (1 / 2,), (-1, 2)), (1 / 6, 2 / 3, 1 / 6))
KUTTA4 = Tableau((0, 1 / 2, 1 / 2, 1), ((), (1 / 2,), (0, 1 / 2), (0, 0, 1)), (1 / 6, 1 / 3, 1 / 3, 1 / 6))
KUTTA38 = Tableau((0, 1 / 3, 2 / 3, 1), ((), (1 / 3,), (-1 / 3, 1), (1, -1, 1)), (1 / 8, 3 / 8, 3 / 8, 1 / 8))


def runge_kutta(field: VelocityField, x0: Tensor, nfe: int, tableau: Tableau, grid: Grid) -> Tensor:
    """The explicit Runge-Kutta method of a tableau, on the velocity.

    Args:
        field: Velocity field, with its path and time interval.
        x0: Initial states [batch, ...].
        nfe: Evaluations to spend, a multiple of the tableau's stages.
        tableau: The method.
        grid: Time grid of nfe / stages steps (see `time_grid`).

    Returns:
        End states [batch, ...].
    """
    stages = len(tableau.b)
    x = x0
    for s, t in pairwise(time_grid(grid, field.path, field.interval, nfe // stages).to(x0.device)):
        h = t - s
        # k_i = u(s + c_i h, x + h sum_j a_ij k_j)
        k: list[Tensor] = []
        for c, a in zip(tableau.c, tableau.a, strict=True):
            k.append(field(torch.lerp(s, t, c), x + h * _weighted(a, k)))
        # x_t = x_s + h sum_i b_i k_i
        x = x + h * _weighted(tableau.b, k)
    return x


def _weighted(weights: tuple[float, ...], slopes: list[Tensor]) -> Tensor | float:
    """The weighted sum of the slopes, without those of weight 0."""
    return sum((weight * slope for weight, slope in zip(weights, slopes, strict=True) if weight), start=0.0)


def euler(field: VelocityField, x0: Tensor, nfe: int, *, grid: Grid = "uniform") -> Tensor:
    """Euler's method, x_t = x_s + (t - s) u_s(x_s).

    Order: 1. Stages: 1. One evaluation a step.

    Reference: Hairer, Norsett & Wanner 1993, Solving Ordinary Differential Equations I, I.7.

    Also known as: diffusers' FlowMatchEulerDiscreteScheduler; ComfyUI's euler where it runs on a flow model.

    Not to be confused with: k-diffusion's euler, which is `ddim`; on CondOT and EDM the two agree.

    When to use it: as a baseline on flow models.

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
    return runge_kutta(field, x0, nfe, EULER, grid)


def midpoint(field: VelocityField, x0: Tensor, nfe: int, *, grid: Grid = "uniform") -> Tensor:
    """The explicit midpoint rule (Runge 1895).

    Order: 2. Stages: 2. Two evaluations a step.

    Reference: Hairer, Norsett & Wanner 1993, Solving Ordinary Differential Equations I, II.1.

    Also known as: torchdiffeq's midpoint.

    Not to be confused with: `dpm_solver_2` and `dpm_solver_pp_2s`, whose middle is one of log-SNR.

    When to use it: as a baseline of order 2, at many evaluations.

    Args:
        field: Velocity field, with its path and time interval.
        x0: Initial states [batch, ...].
        nfe: Evaluations to spend, a multiple of 2.
        grid: Time grid of nfe / 2 steps (see `time_grid`).

    Returns:
        End states [batch, ...].

    Raises:
        UsageError: If the grid is unknown or does not fit the steps.
    """
    return runge_kutta(field, x0, nfe, MIDPOINT, grid)


def heun(field: VelocityField, x0: Tensor, nfe: int, *, grid: Grid = "uniform") -> Tensor:
    """Heun's trapezoidal rule (Heun 1900).

    Order: 2. Stages: 2. Two evaluations a step.

    Reference: Hairer, Norsett & Wanner 1993, Solving Ordinary Differential Equations I, II.1.

    Also known as: torchdiffeq's heun2.

    Not to be confused with: `edm_heun`, Heun's rule over sigma / alpha; diffusers' FlowMatchHeunDiscreteScheduler and, on a
    flow model, ComfyUI's heun, which are this rule but for the last step: it has no corrector, so that it is Euler's.

    When to use it: as a baseline of order 2.

    Args:
        field: Velocity field, with its path and time interval.
        x0: Initial states [batch, ...].
        nfe: Evaluations to spend, a multiple of 2.
        grid: Time grid of nfe / 2 steps (see `time_grid`).

    Returns:
        End states [batch, ...].

    Raises:
        UsageError: If the grid is unknown or does not fit the steps.
    """
    return runge_kutta(field, x0, nfe, HEUN, grid)


def ralston(field: VelocityField, x0: Tensor, nfe: int, *, grid: Grid = "uniform") -> Tensor:
    """Ralston's rule, of the least error bound among those with two stages.

    Order: 2. Stages: 2. Two evaluations a step.

    Reference: Ralston 1962, Math. Comp. 16, doi 10.1090/S0025-5718-1962-0150954-0.

    When to use it: as a baseline of order 2 with the least error bound.

    Args:
        field: Velocity field, with its path and time interval.
        x0: Initial states [batch, ...].
        nfe: Evaluations to spend, a multiple of 2.
        grid: Time grid of nfe / 2 steps (see `time_grid`).

    Returns:
        End states [batch, ...].

    Raises:
        UsageError: If the grid is unknown or does not fit the steps.
    """
    return runge_kutta(field, x0, nfe, RALSTON, grid)


def rk3(field: VelocityField, x0: Tensor, nfe: int, *, grid: Grid = "uniform") -> Tensor:
    """Kutta's rule with three stages.

    Order: 3. Stages: 3. Three evaluations a step.

    Reference: Kutta 1901 (Z. Math. Phys. 46, 435-453).

    Not to be confused with: Heun's rule of third order (torchdiffeq's heun3).

    When to use it: on smooth fields, at many evaluations.

    Args:
        field: Velocity field, with its path and time interval.
        x0: Initial states [batch, ...].
        nfe: Evaluations to spend, a multiple of 3.
        grid: Time grid of nfe / 3 steps (see `time_grid`).

    Returns:
        End states [batch, ...].

    Raises:
        UsageError: If the grid is unknown or does not fit the steps.
    """
    return runge_kutta(field, x0, nfe, KUTTA3, grid)


def rk4(field: VelocityField, x0: Tensor, nfe: int, *, grid: Grid = "uniform") -> Tensor:
    """The classic Runge-Kutta rule (Kutta 1901).

    Order: 4. Stages: 4. Four evaluations a step.

    Reference: Hairer, Norsett & Wanner 1993, Solving Ordinary Differential Equations I, II.1.

    Not to be confused with: torchdiffeq's rk4, which is the 3/8 rule `rk38`.

    When to use it: on smooth fields, at many evaluations.

    Args:
        field: Velocity field, with its path and time interval.
        x0: Initial states [batch, ...].
        nfe: Evaluations to spend, a multiple of 4.
        grid: Time grid of nfe / 4 steps (see `time_grid`).

    Returns:
        End states [batch, ...].

    Raises:
        UsageError: If the grid is unknown or does not fit the steps.
    """
    return runge_kutta(field, x0, nfe, KUTTA4, grid)


def rk38(field: VelocityField, x0: Tensor, nfe: int, *, grid: Grid = "uniform") -> Tensor:
    """Kutta's 3/8 rule (Kutta 1901).

    Order: 4. Stages: 4. Four evaluations a step.

    Reference: Hairer, Norsett & Wanner 1993, Solving Ordinary Differential Equations I, II.1.

    Also known as: torchdiffeq's rk4.

    Not to be confused with: the classic `rk4`.

    When to use it: on smooth fields, at many evaluations.

    Args:
        field: Velocity field, with its path and time interval.
        x0: Initial states [batch, ...].
        nfe: Evaluations to spend, a multiple of 4.
        grid: Time grid of nfe / 4 steps (see `time_grid`).

    Returns:
        End states [batch, ...].

    Raises:
        UsageError: If the grid is unknown or does not fit the steps.
    """
    return runge_kutta(field, x0, nfe, KUTTA38, grid)
