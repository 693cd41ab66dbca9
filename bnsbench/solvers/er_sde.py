"""ER-SDE-Solver without noise: exponential integrators in sigma / alpha on the data prediction (Cui et al. 2023)."""

from __future__ import annotations

from math import log

from torch import Tensor

from bnsbench.errors import UsageError
from bnsbench.flows.fields import VelocityField
from bnsbench.solvers.grids import Grid
from bnsbench.solvers.levels import Evaluation, Level, ddim_step
from bnsbench.solvers.multistep import multistep


def er_sde(field: VelocityField, x0: Tensor, nfe: int, *, order: int = 3, grid: Grid = "uniform") -> Tensor:
    """VP ER-SDE-Solver-1 to -3 for the ODE, phi(x) = x: the data prediction's Taylor polynomial in sigma / alpha.

    Order: 2. Stages: 1. One evaluation a step. The third adds a second derivative to a first one that stays a backward
    difference, so that it has order 2 as well; the first is DDIM.

    Reference: Cui et al. 2023, ER-SDE-Solvers, arXiv 2309.06169.

    Also known as: the authors' ER-SDE-Solver with that phi ("ODE").

    Not to be confused with: ComfyUI's er_sde, whose phi adds noise and which with s_noise = 0 solves no ODE;
    `res_multistep`, whose line is in lambda; `deis` in rho, whose polynomials are the noise prediction's.

    When to use it: to compare with ER-SDE-Solver's ODE.

    Args:
        field: Velocity field, with its path and time interval.
        x0: Initial states [batch, ...].
        nfe: Evaluations to spend, 1 or more.
        order: Of the solver, 1 to 3: the data predictions per step.
        grid: Time grid of nfe steps (see `time_grid`).

    Returns:
        End states [batch, ...].

    Raises:
        UsageError: If there is no such order, or the grid is unknown or does not fit the steps.
    """
    if order not in (1, 2, 3):
        raise UsageError(f"ER-SDE-Solver has orders 1 to 3, not {order}.")
    return multistep(field, x0, nfe, order, grid, {2: taylor_step, 3: taylor_step})


def taylor_step(x: Tensor, past: list[Evaluation], t: Level) -> Tensor:
    """One step with the data prediction's Taylor polynomial in rho = sigma / alpha, which the paper calls lambda.

    d (x / sigma) = -D d rho / rho^2: the k-th derivative of D at rho_s has the weight alpha_t rho_t times the integral from
    rho_t to rho_s of (rho - rho_s)^k / (k! rho^2).

    Args:
        x: State at the newest prediction's level s.
        past: The last two or three data predictions D, the newest first.
        t: Level at the step's end.

    Returns:
        The state at t.
    """
    newest, older = past[:2]
    s = newest.level
    rho = [evaluation.level.rho for evaluation in past]
    rho_s, rho_t = rho[0], t.rho
    logarithm = log(rho_s / rho_t)
    # k = 0: D itself, DDIM's step.
    x_t = ddim_step(x, s, t, newest.value)
    # k = 1: D' at rho_s, by a backward difference.
    slope = (newest.value - older.value) / (rho[0] - rho[1])
    x_t = x_t + t.alpha * (rho_t - rho_s + rho_t * logarithm) * slope
    if len(past) == 3:
        # k = 2: D'', the difference of two such slopes by the distance of their middles.
        older_slope = (older.value - past[2].value) / (rho[1] - rho[2])
        curvature = (slope - older_slope) / ((rho[0] - rho[2]) / 2)
        x_t = x_t + t.alpha * ((rho_s**2 - rho_t**2) / 2 - rho_s * rho_t * logarithm) * curvature
    return x_t
