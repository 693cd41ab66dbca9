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
    """The two-step Adams-Bashforth method, on the velocity.

    Order 2, one evaluation a step.
    Not to be confused with `ipndm` of order 2, which weighs the noise prediction as if the steps were equal.
    """
    return adams_bashforth(field, x0, nfe, 2, grid)


def ab3(field: VelocityField, x0: Tensor, nfe: int, *, grid: Grid = "uniform") -> Tensor:
    """The three-step Adams-Bashforth method, on the velocity.

    Order 2, since the first step is Euler's, and 3 after the first ones; one evaluation a step.
    Not to be confused with `deis` of order 3, on the noise prediction.
    """
    return adams_bashforth(field, x0, nfe, 3, grid)


def ab4(field: VelocityField, x0: Tensor, nfe: int, *, grid: Grid = "uniform") -> Tensor:
    """The four-step Adams-Bashforth method, on the velocity.

    Order 2, since the first step is Euler's, and 4 after the first ones; one evaluation a step.
    Not to be confused with k-diffusion's lms, which is `deis` of order 4 in rho; ComfyUI's lms on a flow model is this rule.
    """
    return adams_bashforth(field, x0, nfe, 4, grid)
