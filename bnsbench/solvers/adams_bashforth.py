"""Adams-Bashforth methods on the velocity, in the path's own time, for steps of any size."""

from __future__ import annotations

from torch import Tensor

from bnsbench.flows.fields import VelocityField
from bnsbench.solvers.grids import Grid, time_grid
from bnsbench.solvers.interpolation import lagrange, quadrature


def adams_bashforth(field: VelocityField, x0: Tensor, nfe: int, order: int, grid: Grid) -> Tensor:
    """The Adams-Bashforth method: each step is the integral of the polynomial through the last velocities.

    The first steps have fewer velocities and so lower orders, from Euler's upwards (Hairer, Norsett & Wanner 1993, III.5).

    Args:
        field: Velocity field, with its path and time interval.
        x0: Initial states [batch, ...].
        nfe: Evaluations to spend, which is the number of steps.
        order: Velocities per step, 1 or more.
        grid: Time grid of nfe steps (see `time_grid`).

    Returns:
        End states [batch, ...].
    """
    times = time_grid(grid, field.path, field.interval, nfe)
    x = x0
    velocities: list[Tensor] = []
    for i in range(nfe):
        velocities.append(field(times[i].to(x.device), x))
        first = max(0, i + 1 - order)
        # b_j, the integral from t_i to t_{i+1} of l_j, for the nodes t_j from the first one to t_i.
        points, weights = quadrature(float(times[i]), float(times[i + 1]))
        b = (lagrange(times[first : i + 1], points) @ weights).tolist()
        # x_{i+1} = x_i + sum_j b_j u_j
        for b_j, velocity in zip(b, velocities[first:], strict=True):
            x = x + b_j * velocity
    return x


def ab2(field: VelocityField, x0: Tensor, nfe: int, *, grid: Grid = "uniform") -> Tensor:
    """The two-step Adams-Bashforth method, on the velocity.

    Order: 2. Stages: 1. One evaluation a step; the first step is Euler's.

    Reference: Hairer, Norsett & Wanner 1993, Solving Ordinary Differential Equations I, III.5.

    Not to be confused with: `ipndm` of order 2, which weighs the noise prediction as if the steps were equal.

    When to use it: on flow models, at few evaluations.

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
    return adams_bashforth(field, x0, nfe, 2, grid)


def ab3(field: VelocityField, x0: Tensor, nfe: int, *, grid: Grid = "uniform") -> Tensor:
    """The three-step Adams-Bashforth method, on the velocity.

    Order: 2. Stages: 1. One evaluation a step. The first step is Euler's, of order 1, and the third the first of order 3.

    Reference: Hairer, Norsett & Wanner 1993, Solving Ordinary Differential Equations I, III.5.

    Not to be confused with: `deis` of order 3, on the noise prediction.

    When to use it: as `ab2`, on a grid that suits the path.

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
    return adams_bashforth(field, x0, nfe, 3, grid)


def ab4(field: VelocityField, x0: Tensor, nfe: int, *, grid: Grid = "uniform") -> Tensor:
    """The four-step Adams-Bashforth method, on the velocity.

    Order: 2. Stages: 1. One evaluation a step. The first step is Euler's, of order 1, and the fourth the first of order 4.

    Reference: Hairer, Norsett & Wanner 1993, Solving Ordinary Differential Equations I, III.5.

    Also known as: ComfyUI's lms where it runs on a flow model.

    Not to be confused with: k-diffusion's lms on a diffusion model, which is `deis` of order 4 in rho; on the EDM path that
    is this rule.

    When to use it: as `ab3`, with short steps where the field changes fast.

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
    return adams_bashforth(field, x0, nfe, 4, grid)
