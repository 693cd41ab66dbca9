"""STORK-2: a stabilised Runge-Kutta rule whose stages are Taylor polynomials (Tan et al. 2025, arXiv 2505.24210)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor

from bnsbench.errors import UsageError
from bnsbench.flows.fields import VelocityField
from bnsbench.solvers.grids import Grid, time_grid


def stork2(
    field: VelocityField,
    x0: Tensor,
    nfe: int,
    *,
    derivatives: int = 1,
    s: int = 50,
    exact_times: bool = False,
    grid: Grid = "uniform",
) -> Tensor:
    """STORK-2 for flow models: RKG2 with s stages, each a Taylor polynomial of the velocity in time.

    Order: 1. Stages: 1. One evaluation a step: its s stages are Taylor polynomials and evaluate nothing. 50 of them have
    1 / 48 of Euler's error; with ``exact_times`` the order is 2.

    Reference: Tan et al. 2025, STORK, arXiv 2505.24210.

    Also known as: the authors' STORKScheduler with solver_order 2 and flow_prediction.

    Not to be confused with: a rule for stiff equations, since the stages see the time and not their states, so that the rule
    is no more stable than Adams-Bashforth. With one derivative and ``exact_times`` it is `ab2`, whatever s.

    When to use it: on flow models, at few evaluations; try two derivatives.

    Args:
        field: Velocity field, with its path and time interval.
        x0: Initial states [batch, ...].
        nfe: Evaluations to spend, 1 or more.
        derivatives: Of the velocity, 1 or 2, by the polynomial through its last two or three values.
        s: Stages of RKG2, 2 or more.
        exact_times: Whether the stages lie at RKG2's own times; in the authors' code they lie at RKL2's, a little earlier.
        grid: Time grid of nfe steps (see `time_grid`).

    Returns:
        End states [batch, ...].

    Raises:
        UsageError: If there are no such derivatives or stages, or the grid is unknown or does not fit the steps.
    """
    if derivatives not in (1, 2) or s < 2:
        raise UsageError(f"STORK-2 has 1 or 2 derivatives and 2 or more stages, not {derivatives} and {s}.")
    first, second = stage_sums(s, exact_times)
    x = x0
    history: list[tuple[float, Tensor]] = []
    for begin, end in pairwise(time_grid(grid, field.path, field.interval, nfe)):
        history = [*history, (float(begin), field(begin.to(x.device), x))][-1 - derivatives :]
        h = float(end - begin)
        # The velocity and as many derivatives as there are values for: u, u', u''.
        u, *slopes = _derivatives(history)
        # What all stages come to, term by term of the Taylor polynomial.
        x = x + h * u
        if len(slopes) == derivatives:
            x = x + first * h**2 * slopes[0]
        elif slopes:  # too few values for the second derivative: Adams-Bashforth, as in the authors' code
            x = x + h**2 / 2 * slopes[0]
        if len(slopes) == 2:
            x = x + second * h**3 / 2 * slopes[1]
    return x


@dataclass(frozen=True)
class Stage:
    """Y_j = mu Y_{j-1} + nu Y_{j-2} + (1 - mu - nu) Y_0 + h (mu_tilde u(Y_{j-1}) + gamma_tilde u(Y_0)), Y_{j-1} at c h."""

    mu: float
    nu: float
    mu_tilde: float
    gamma_tilde: float
    c: float


def rkg2(s: int, exact_times: bool) -> list[Stage]:
    """The stages of the second-order Runge-Kutta-Gegenbauer rule (Skaras, Saxton, Meyer & Aslam 2021).

    Its stability polynomial is 1 + b_s (C_s(1 + w z) - C_s(1)) with the Gegenbauer polynomial C_s of index 3 / 2; w and b_s
    make it 1 + z + z^2 / 2 + ..., and it stays within 1 for z from -2 / w to 0. The stages are C_j's recurrence.

    Args:
        s: How many, 2 or more.
        exact_times: Whether each lies at its own time, or at Runge-Kutta-Legendre's, as in STORK's authors' code.

    Returns:
        The stages 1 to s.
    """
    w = 6 / ((s + 4) * (s - 1))
    # Stage 1 is Euler's step over w h; stage j is the recurrence of the Gegenbauer polynomials, scaled by b_j.
    found = [Stage(1.0, 0.0, w, 0.0, 0.0)]
    for j in range(2, s + 1):
        mu = (2 * j + 1) / j * _b(j) / _b(j - 1)
        nu = -(j + 1) / j * _b(j) / _b(j - 2)
        gamma_tilde = -mu * w * (1 - j * (j + 1) / 2 * _b(j - 1))
        found.append(Stage(mu, nu, mu * w, gamma_tilde, _time(j - 1, s, exact_times)))
    return found


def stage_sums(s: int, exact_times: bool) -> tuple[float, float]:
    """What the stages come to: x_t = x + h u + first h^2 u' + second h^3 u'' / 2, since stage j sees u at c_j alone.

    A rule of order 2 has first = 1 / 2; one of order 3 would have second = 1 / 3, RKG2 has about 1 / 4.

    Args:
        s: Stages, 2 or more.
        exact_times: See `rkg2`.

    Returns:
        first and second.
    """
    sums = []
    for power in (1, 2):
        # The stages' recurrence for a velocity that is theta^power: Y_0 = 0 and u(Y_{j-1}) = c_{j-1}^power.
        before = newest = 0.0
        for stage in rkg2(s, exact_times):
            before, newest = newest, stage.mu * newest + stage.nu * before + stage.mu_tilde * stage.c**power
        sums.append(newest)
    return sums[0], sums[1]


def _b(j: int) -> float:
    """C_j''(1) / C_j'(1)^2, and for j = 0 and 1, where that is 0, what the authors of RKG2 take."""
    return (1.0, 1 / 3)[j] if j < 2 else 4 * (j - 1) * (j + 4) / (3 * j * (j + 1) * (j + 2) * (j + 3))


def _time(j: int, s: int, exact: bool) -> float:
    """Where stage j lies, in steps: RKG2's own, the derivative of its polynomial at 0, or that of Runge-Kutta-Legendre."""
    if exact:
        return 6 / ((s + 4) * (s - 1)) if j == 1 else (j - 1) * (j + 4) / ((s - 1) * (s + 4))
    return (4 / 3 if j == 1 else j**2 + j - 2) / (s**2 + s - 2)


def _derivatives(history: list[tuple[float, Tensor]]) -> list[Tensor]:
    """The velocity and its derivatives at the newest time, of the polynomial through the values."""
    # Divided differences, the newest value first.
    (t, u), *older = reversed(history)
    if not older:
        return [u]
    (t1, u1), *oldest = older
    slope = (u - u1) / (t - t1)
    if not oldest:
        return [u, slope]
    t2, u2 = oldest[0]
    half_curvature = (slope - (u1 - u2) / (t1 - t2)) / (t - t2)
    return [u, slope + (t - t1) * half_curvature, 2 * half_curvature]
