"""DEIS and iPNDM: exponential integrators on the noise prediction (Zhang & Chen 2023, arXiv 2204.13902)."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from bnsbench.errors import UsageError
from bnsbench.flows.fields import VelocityField
from bnsbench.flows.paths import Path
from bnsbench.solvers.grids import Grid
from bnsbench.solvers.interpolation import lagrange, quadrature
from bnsbench.solvers.levels import Evaluation, Level, ddim_step, grid_levels, noise_step, predict_both

VARIABLES = ("time", "rho", "logsnr")

_ADAMS_BASHFORTH = ((1.0,), (3 / 2, -1 / 2), (23 / 12, -16 / 12, 5 / 12), (55 / 24, -59 / 24, 37 / 24, -9 / 24))


def deis(
    field: VelocityField, x0: Tensor, nfe: int, *, order: int = 3, variable: str = "time", grid: Grid = "uniform"
) -> Tensor:
    """DEIS-AB: the noise prediction extrapolated by the polynomial through its last values (Zhang & Chen 2023, Algorithm 1).

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
        x = _extrapolated(x, history, t, variable, field.path) if _has_integral(s, t, variable) else ddim_step(x, s, t, data)
    return x


def ipndm(field: VelocityField, x0: Tensor, nfe: int, *, order: int = 4, grid: Grid = "uniform") -> Tensor:
    """The improved PNDM: Adams-Bashforth weights of equal steps in a DDIM step (Zhang & Chen 2023).

    order: values per step, 1 to 4.
    """
    if order not in (1, 2, 3, 4):
        raise UsageError(f"iPNDM has orders 1 to 4, not {order}.")
    x = x0
    noises: list[Tensor] = []
    for s, t in pairwise(grid_levels(field, grid, nfe)):
        data, noise = predict_both(field, s, x)
        noises = [noise, *noises[: order - 1]]
        # The first step, which may begin at alpha = 0, is DDIM's.
        x = ddim_step(x, s, t, data) if len(noises) == 1 else noise_step(x, s, t, _adams_bashforth(noises))
    return x


def _adams_bashforth(values: list[Tensor]) -> Tensor:
    """The weighted sum of the values, the newest first, with the weights of equal steps."""
    terms = [weight * value for weight, value in zip(_ADAMS_BASHFORTH[len(values) - 1], values, strict=True)]
    return torch.stack(terms).sum(0)


def _has_integral(s: Level, t: Level, variable: str) -> bool:
    """Whether rho = sigma / alpha, over which the step integrates, and the variable are finite from s to t."""
    return s.finite and (t.finite or variable != "logsnr")


def _extrapolated(x: Tensor, history: list[Evaluation], t: Level, variable: str, path: Path) -> Tensor:
    """x_t = (alpha_t / alpha_s) x + sum_j C_j epsilon_j with C_j = alpha_t times the integral of polynomial j over rho."""
    past = [evaluation for evaluation in history if evaluation.level.finite or variable == "time"]
    s = past[-1].level
    log_snr, d_rho = _rho_quadrature(s, t)
    nodes = torch.tensor([evaluation.level.log_snr for evaluation in past], dtype=torch.float64)
    basis = lagrange(_variable(path, nodes, variable), _variable(path, log_snr, variable))
    x_t = t.alpha / s.alpha * x
    for weight, evaluation in zip((t.alpha * basis @ d_rho).tolist(), past, strict=True):
        x_t = x_t + weight * evaluation.value
    return x_t


def _variable(path: Path, log_snr: Tensor, variable: str) -> Tensor:
    if variable == "time":
        return path.time(log_snr)
    return torch.exp(-log_snr) if variable == "rho" else log_snr


def _rho_quadrature(s: Level, t: Level) -> tuple[Tensor, Tensor]:
    """Return the log-SNR of points between s and t, and the weights of an integral over rho there."""
    if t.finite:
        log_snr, weights = quadrature(s.log_snr, t.log_snr)
        return log_snr, -torch.exp(-log_snr) * weights
    rho, weights = quadrature(s.sigma / s.alpha, 0.0)
    return -torch.log(rho), weights
