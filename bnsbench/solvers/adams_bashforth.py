"""Adams-Bashforth methods on the velocity, in the path's own time, for steps of any size."""

from __future__ import annotations

from torch import Tensor

from bnsbench.flows.fields import VelocityField
from bnsbench.solvers.grids import Grid, time_grid
from bnsbench.solvers.interpolation import lagrange, quadrature


def adams_bashforth(field: VelocityField, x0: Tensor, nfe: int, order: int, grid: Grid) -> Tensor:
    """Return the end state after nfe steps, each the integral of the polynomial through the last ``order`` velocities.

    The first steps have fewer velocities and so lower orders, from Euler's upwards (Hairer, Norsett & Wanner 1993, III.5).
    """
    times = time_grid(grid, field.path, field.interval, nfe)
    x = x0
    velocities: list[Tensor] = []
    for i in range(nfe):
        velocities.append(field(times[i].to(x.device), x))
        first = max(0, i + 1 - order)
        points, weights = quadrature(float(times[i]), float(times[i + 1]))
        integrals = (lagrange(times[first : i + 1], points) @ weights).tolist()
        for weight, velocity in zip(integrals, velocities[first:], strict=True):
            x = x + weight * velocity
    return x


def ab2(field: VelocityField, x0: Tensor, nfe: int, *, grid: Grid = "uniform") -> Tensor:
    """The two-step Adams-Bashforth method."""
    return adams_bashforth(field, x0, nfe, 2, grid)


def ab3(field: VelocityField, x0: Tensor, nfe: int, *, grid: Grid = "uniform") -> Tensor:
    """The three-step Adams-Bashforth method."""
    return adams_bashforth(field, x0, nfe, 3, grid)


def ab4(field: VelocityField, x0: Tensor, nfe: int, *, grid: Grid = "uniform") -> Tensor:
    """The four-step Adams-Bashforth method."""
    return adams_bashforth(field, x0, nfe, 4, grid)
