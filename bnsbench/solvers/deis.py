"""DEIS: exponential integrators on the noise prediction (Zhang & Chen 2023, arXiv 2204.13902)."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from bnsbench.errors import UsageError
from bnsbench.flows.fields import VelocityField
from bnsbench.flows.paths import Path
from bnsbench.solvers.grids import Grid
from bnsbench.solvers.interpolation import lagrange, quadrature
from bnsbench.solvers.levels import Evaluation, Level, ddim_step, grid_levels, predict_both

VARIABLES = ("time", "rho", "logsnr")


def deis(
    field: VelocityField, x0: Tensor, nfe: int, *, order: int = 3, variable: str = "time", grid: Grid = "uniform"
) -> Tensor:
    """DEIS-AB: the noise prediction extrapolated by the polynomial through its last values (Zhang & Chen 2023, Algorithm 1).

    Order 2, since the first step is DDIM's, and ``order`` from the second on; one evaluation a step.
    Also known, for order 4 in rho, as k-diffusion's lms and diffusers' LMSDiscreteScheduler, and for order 2 in logsnr as
    diffusers' DEISMultistepScheduler without a lower last order.
    Not to be confused with `ipndm_v`, which is meant to be DEIS in rho and has other weights.

    order: values per step, 1 to 4; the paper counts the polynomial's degree, so its tAB3 is order 4.
    variable: of the polynomial: "time" (tAB), "rho" = sigma / alpha (their rhoAB), or "logsnr".
    """
    if order not in (1, 2, 3, 4) or variable not in VARIABLES:
        known = ", ".join(VARIABLES)
        raise UsageError(f"DEIS has orders 1 to 4 and the variables {known}, not order {order} and variable {variable!r}.")
    x = x0
    history: list[Evaluation] = []
    for s, t in pairwise(grid_levels(field, grid, nfe)):
        data, noise = predict_both(field, s, x)
        history = [*history, Evaluation(s, noise)][-order:]
        if s.finite and (t.finite or variable != "logsnr"):
            x = _extrapolated(x, history, t, variable, field.path)
        else:  # rho or the variable is infinite at an end of the step, so that C_ij does not exist
            x = ddim_step(x, s, t, data)
    return x


def _extrapolated(x: Tensor, history: list[Evaluation], t: Level, variable: str, path: Path) -> Tensor:
    """x_t = Psi(t, s) x_s + sum_j C_ij epsilon_j, where Psi(t, s) = alpha_t / alpha_s is the flow of the linear part."""
    # At alpha = 0 only time is finite: in the other variables that value has no place among the nodes.
    past = [evaluation for evaluation in history if evaluation.level.finite or variable == "time"]
    psi = t.alpha / past[-1].level.alpha
    x_t = psi * x
    for c_ij, evaluation in zip(_coefficients(past, t, variable, path), past, strict=True):
        x_t = x_t + c_ij * evaluation.value
    return x_t


def _coefficients(past: list[Evaluation], t: Level, variable: str, path: Path) -> list[float]:
    """C_ij = alpha_t integral from s to t of l_j d rho: rho = sigma / alpha, l_j the variable's Lagrange polynomials.

    The paper has them over time, with the weight Psi(t, tau) G G^T L^-T / 2: for x = alpha x1 + sigma epsilon that is
    alpha_t d rho / d tau.
    """
    # Points between s and t with the weights of an integral over rho: in log-SNR, or in rho itself if that ends at 0.
    s = past[-1].level
    if t.finite:
        log_snr, weights = quadrature(s.log_snr, t.log_snr)
        d_rho = -torch.exp(-log_snr) * weights
    else:
        rho, d_rho = quadrature(s.sigma / s.alpha, 0.0)
        log_snr = -torch.log(rho)
    # The polynomials: 1 at their own node and 0 at the others.
    nodes = torch.tensor([evaluation.level.log_snr for evaluation in past], dtype=torch.float64)
    l_j = lagrange(_variable(path, nodes, variable), _variable(path, log_snr, variable))
    c_ij: list[float] = (t.alpha * l_j @ d_rho).tolist()
    return c_ij


def _variable(path: Path, log_snr: Tensor, variable: str) -> Tensor:
    if variable == "time":
        return path.time(log_snr)
    return torch.exp(-log_snr) if variable == "rho" else log_snr
