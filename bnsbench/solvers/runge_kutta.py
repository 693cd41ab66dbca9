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
    """A Butcher tableau: stage times c [stages], stage weights a (row i has i numbers) and the step's weights b [stages]."""

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
    """Return the end state after nfe / stages steps of the tableau's method on the time grid."""
    stages = len(tableau.b)
    x = x0
    for s, t in pairwise(time_grid(grid, field.path, field.interval, nfe // stages).to(x0.device)):
        h = t - s
        slopes: list[Tensor] = []
        for c, weights in zip(tableau.c, tableau.a, strict=True):
            slopes.append(field(torch.lerp(s, t, c), x + h * _weighted(weights, slopes)))
        x = x + h * _weighted(tableau.b, slopes)
    return x


def _weighted(weights: tuple[float, ...], slopes: list[Tensor]) -> Tensor | float:
    return sum((weight * slope for weight, slope in zip(weights, slopes, strict=True) if weight), start=0.0)


def euler(field: VelocityField, x0: Tensor, nfe: int, *, grid: Grid = "uniform") -> Tensor:
    """Euler's method: x_t = x_s + (t - s) u_s(x_s).

    Order 1, one stage.
    Also known as diffusers' FlowMatchEulerDiscreteScheduler, and as ComfyUI's euler on a flow model.
    Not to be confused with k-diffusion's euler, which is `ddim`; on CondOT and EDM they agree.
    """
    return runge_kutta(field, x0, nfe, EULER, grid)


def midpoint(field: VelocityField, x0: Tensor, nfe: int, *, grid: Grid = "uniform") -> Tensor:
    """The explicit midpoint rule (Runge 1895).

    Order 2, two stages.
    Also known as torchdiffeq's midpoint.
    Not to be confused with `dpm_solver_2` and `dpm_solver_pp_2s`, whose middle is one of log-SNR.
    """
    return runge_kutta(field, x0, nfe, MIDPOINT, grid)


def heun(field: VelocityField, x0: Tensor, nfe: int, *, grid: Grid = "uniform") -> Tensor:
    """Heun's trapezoidal rule (Heun 1900).

    Order 2, two stages.
    Also known as torchdiffeq's heun2.
    Not to be confused with `edm_heun`, Heun's rule over sigma / alpha, nor with diffusers' FlowMatchHeunDiscreteScheduler,
    which is this rule but for a last step by Euler.
    """
    return runge_kutta(field, x0, nfe, HEUN, grid)


def ralston(field: VelocityField, x0: Tensor, nfe: int, *, grid: Grid = "uniform") -> Tensor:
    """Ralston's rule, of the least error bound among two stages (Ralston 1962).

    Order 2, two stages.
    """
    return runge_kutta(field, x0, nfe, RALSTON, grid)


def rk3(field: VelocityField, x0: Tensor, nfe: int, *, grid: Grid = "uniform") -> Tensor:
    """Kutta's rule (Kutta 1901).

    Order 3, three stages.
    Not to be confused with Heun's third-order rule (torchdiffeq's heun3).
    """
    return runge_kutta(field, x0, nfe, KUTTA3, grid)


def rk4(field: VelocityField, x0: Tensor, nfe: int, *, grid: Grid = "uniform") -> Tensor:
    """The classic Runge-Kutta rule (Kutta 1901).

    Order 4, four stages.
    Not to be confused with torchdiffeq's rk4, which is the 3/8 rule `rk38`.
    """
    return runge_kutta(field, x0, nfe, KUTTA4, grid)


def rk38(field: VelocityField, x0: Tensor, nfe: int, *, grid: Grid = "uniform") -> Tensor:
    """Kutta's 3/8 rule (Kutta 1901).

    Order 4, four stages.
    Also known as torchdiffeq's rk4.
    Not to be confused with the classic `rk4`.
    """
    return runge_kutta(field, x0, nfe, KUTTA38, grid)
