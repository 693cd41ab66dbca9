"""ER-SDE-Solver without noise: exponential integrators in sigma / alpha on the data prediction (Cui et al. 2023)."""

from __future__ import annotations

from itertools import pairwise
from math import log

from torch import Tensor

from bnsbench.errors import UsageError
from bnsbench.flows.fields import VelocityField
from bnsbench.solvers.grids import Grid
from bnsbench.solvers.levels import Evaluation, Level, ddim_step, grid_levels, predict_data, recent


def er_sde(field: VelocityField, x0: Tensor, nfe: int, *, order: int = 3, grid: Grid = "uniform") -> Tensor:
    """VP ER-SDE-Solver-1 to -3 for the ODE, phi(x) = x (Cui et al. 2023, arXiv 2309.06169).

    Order 2, one evaluation a step: the third adds a second derivative to a first one that stays a backward difference. The
    first is DDIM.
    Also known as the authors' code with that phi (ER-SDE-Solver, "ODE").
    Not to be confused with ComfyUI's er_sde, whose phi adds noise and which with s_noise = 0 solves no ODE, nor with
    `res_multistep`, whose line is in lambda, nor with `deis` in rho, whose polynomials are the noise prediction's.

    order: of the solver, 1 to 3: the data predictions per step.
    """
    if order not in (1, 2, 3):
        raise UsageError(f"ER-SDE-Solver has orders 1 to 3, not {order}.")
    x = x0
    history: list[Evaluation] = []
    for s, t in pairwise(grid_levels(field, grid, nfe)):
        history = [*history, Evaluation(s, predict_data(field, s, x))][-order:]
        past = recent(history, order) if t.finite else []
        x = _taylor_step(x, past, t) if len(past) > 1 else ddim_step(x, s, t, history[-1].value)
    return x


def _taylor_step(x: Tensor, past: list[Evaluation], t: Level) -> Tensor:
    """One step with the data prediction's Taylor polynomial in rho = sigma / alpha, which the paper calls lambda.

    d (x / sigma) = -D d rho / rho^2: the k-th derivative of D at rho_s has the weight alpha_t rho_t times the integral from
    rho_t to rho_s of (rho - rho_s)^k / (k! rho^2).
    """
    newest, older = past[:2]
    s = newest.level
    rho = [evaluation.level.sigma / evaluation.level.alpha for evaluation in past]
    rho_s, rho_t = rho[0], t.sigma / t.alpha
    logarithm = log(rho_s / rho_t)
    # D' at rho_s, by a backward difference.
    slope = (newest.value - older.value) / (rho[0] - rho[1])
    x_t = ddim_step(x, s, t, newest.value) + t.alpha * (rho_t - rho_s + rho_t * logarithm) * slope
    if len(past) == 3:
        # D'', the difference of two such slopes.
        older_slope = (older.value - past[2].value) / (rho[1] - rho[2])
        curvature = (slope - older_slope) / ((rho[0] - rho[2]) / 2)
        x_t = x_t + t.alpha * ((rho_s**2 - rho_t**2) / 2 - rho_s * rho_t * logarithm) * curvature
    return x_t
