"""DEIS: exponential integrators on the noise prediction (Zhang & Chen 2023, arXiv 2204.13902).

For x = alpha x1 + sigma epsilon the flow is d (x / alpha) = epsilon d rho with rho = sigma / alpha. DEIS replaces epsilon by
the polynomial through its last values and integrates that exactly, so that a step from s to t is

    x_t = Psi(t, s) x_s + sum_j C_ij epsilon_j,        Psi(t, s) = alpha_t / alpha_s.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from bnsbench.errors import UsageError
from bnsbench.flows.fields import VelocityField
from bnsbench.flows.paths import Path
from bnsbench.solvers.grids import Grid
from bnsbench.solvers.interpolation import lagrange, quadrature
from bnsbench.solvers.levels import Evaluation, Level, ddim_step, grid_levels, predict_both

VARIABLES: dict[str, Callable[[Path, Tensor], Tensor]] = {
    "time": lambda path, log_snr: path.time(log_snr),
    "rho": lambda _, log_snr: torch.exp(-log_snr),
    "logsnr": lambda _, log_snr: log_snr,
}
"""What the polynomials are polynomials of, as functions of lambda = log(alpha / sigma)."""


def deis(
    field: VelocityField, x0: Tensor, nfe: int, *, order: int = 3, variable: str = "time", grid: Grid = "uniform"
) -> Tensor:
    """DEIS-AB: the polynomial through the last noise predictions, integrated exactly over each step.

    Order: 2. Stages: 1. One evaluation a step. The first step is DDIM's; from the second on the order is ``order``.

    Reference: Zhang & Chen 2023, DEIS, arXiv 2204.13902, Algorithm 1.

    Also known as: with order 4 in rho, k-diffusion's lms and diffusers' LMSDiscreteScheduler; with order 2 in logsnr,
    diffusers' DEISMultistepScheduler without a lower last order, whose polynomials are in log(sigma / alpha) and not, as the
    paper's, in time.

    Not to be confused with: `ipndm_v`, which is meant to be DEIS in rho and has other weights.

    When to use it: on flow models, with a grid in log-SNR.

    Args:
        field: Velocity field, with its path and time interval.
        x0: Initial states [batch, ...].
        nfe: Evaluations to spend, 1 or more.
        order: Values per step, 1 to 4. The paper counts the polynomial's degree, so that its tAB3 is order 4.
        variable: Of the polynomial: "time" (the paper's tAB), "rho" = sigma / alpha (its rhoAB), or "logsnr".
        grid: Time grid of nfe steps (see `time_grid`).

    Returns:
        End states [batch, ...].

    Raises:
        UsageError: If the order, variable or grid is unknown, or the grid does not fit the steps.
    """
    if order not in (1, 2, 3, 4) or variable not in VARIABLES:
        known = ", ".join(VARIABLES)
        raise UsageError(f"DEIS has orders 1 to 4 and the variables {known}, not order {order} and variable {variable!r}.")
    x = x0
    history: list[Evaluation] = []
    for s, t in pairwise(grid_levels(field, grid, nfe)):
        data, noise = predict_both(field, s, x)
        history = [*history, Evaluation(s, noise)][-order:]
        if not s.finite or (variable == "logsnr" and not t.finite):
            # rho or the variable is infinite at an end of the step, so that C_ij does not exist there. DDIM's step does.
            x = ddim_step(x, s, t, data)
            continue
        # A value at alpha = 0 is a node in time; rho and lambda have no place for it.
        past = [evaluation for evaluation in history if evaluation.level.finite or variable == "time"]
        c_ij = coefficients([evaluation.level for evaluation in past], t, variable, field.path)
        # x_t = Psi(t, s) x_s + sum_j C_ij epsilon_j
        x = t.alpha / s.alpha * x
        for c, evaluation in zip(c_ij, past, strict=True):
            x = x + c * evaluation.value
    return x


def coefficients(nodes: list[Level], t: Level, variable: str, path: Path) -> list[float]:
    """C_ij, which weigh the noise predictions in the step to t: the integrals of their Lagrange polynomials.

    The paper writes, with v the polynomials' variable (its tau),

        C_ij = integral from s to t of 1/2 Psi(t, tau) G G^T L^-T prod_{k != j} (v - v_k) / (v_j - v_k) d tau.

    Here L = sigma, Psi(t, tau) = alpha_t / alpha and G^2 = 2 sigma alpha d rho / d tau, so that the weight before the
    product is alpha_t d rho.

    Args:
        nodes: Levels of the last values, the newest of which is s.
        t: Level at the step's end.
        variable: One of `VARIABLES`.
        path: The path, which knows the time of a level.

    Returns:
        C_ij for j over the nodes.
    """
    s = nodes[-1]
    # Quadrature points between s and t, as lambda, with their weights d rho.
    if t.finite:
        log_snr, d_log_snr = quadrature(s.log_snr, t.log_snr)
        d_rho = -torch.exp(-log_snr) * d_log_snr
    else:  # sigma_t = 0: lambda is infinite there, and rho ends at 0
        rho, d_rho = quadrature(s.rho, 0.0)
        log_snr = -torch.log(rho)
    # l_j(v) = prod_{k != j} (v - v_k) / (v_j - v_k) at those points.
    v = VARIABLES[variable]
    v_nodes = v(path, torch.tensor([node.log_snr for node in nodes], dtype=torch.float64))
    l_j = lagrange(v_nodes, v(path, log_snr))
    # C_ij = alpha_t integral of l_j d rho.
    c_ij: list[float] = (t.alpha * l_j @ d_rho).tolist()
    return c_ij
