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
    """Euler's method: x_t = x_s + (t - s) u_s(x_s)."""
    return runge_kutta(field, x0, nfe, EULER, grid)


def midpoint(field: VelocityField, x0: Tensor, nfe: int, *, grid: Grid = "uniform") -> Tensor:
    """The explicit midpoint rule, of order 2 with two stages (Runge 1895)."""
    return runge_kutta(field, x0, nfe, MIDPOINT, grid)


def heun(field: VelocityField, x0: Tensor, nfe: int, *, grid: Grid = "uniform") -> Tensor:
    """Heun's trapezoidal rule, of order 2 with two stages (Heun 1900)."""
    return runge_kutta(field, x0, nfe, HEUN, grid)


def ralston(field: VelocityField, x0: Tensor, nfe: int, *, grid: Grid = "uniform") -> Tensor:
    """Ralston's rule of order 2 with the least error bound among two stages (Ralston 1962)."""
    return runge_kutta(field, x0, nfe, RALSTON, grid)


def rk3(field: VelocityField, x0: Tensor, nfe: int, *, grid: Grid = "uniform") -> Tensor:
    """Kutta's rule of order 3 with three stages (Kutta 1901)."""
    return runge_kutta(field, x0, nfe, KUTTA3, grid)


def rk4(field: VelocityField, x0: Tensor, nfe: int, *, grid: Grid = "uniform") -> Tensor:
    """The classic rule of order 4 with four stages (Kutta 1901)."""
    return runge_kutta(field, x0, nfe, KUTTA4, grid)


def rk38(field: VelocityField, x0: Tensor, nfe: int, *, grid: Grid = "uniform") -> Tensor:
    """Kutta's 3/8 rule of order 4 with four stages (Kutta 1901)."""
    return runge_kutta(field, x0, nfe, KUTTA38, grid)
