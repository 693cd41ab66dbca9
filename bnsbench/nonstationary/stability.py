"""Stability of a table: its exact amplification of linear decays and of errors of evaluations, without any model."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bnsbench.nonstationary.engine import last, recursion
from bnsbench.nonstationary.table import NonStationarySolver

LARGEST_LIMIT = 1e6
"""Stability limits beyond this count as infinite."""

_SCAN_POINTS = 20_000  # a ratio of 1.001 from one to the next, where R of n <= 100 evaluations oscillates far more slowly
_ROUNDING = 1e-9


def stability(solver: NonStationarySolver, z: Tensor | complex) -> Tensor:
    """Return R(z), the end state of dx/dt = (z / T) x for x_0 = 1, where T = times[n] - times[0] is the interval's length.

    Inserting u_j = (z / T) x_j into the table gives r_0 = 1, r_{i+1} = a_i + (z / T) sum_{j<=i} b_ij r_j and R = r_n, a
    polynomial of degree n at most with R(0) = a_{n-1}; the exact end state is exp(z). For m equal steps of a Runge-Kutta
    method with stability function S it is S(z / m)^m (Hairer & Wanner 1996, Section IV.2). A table that weighs two answers
    gets this velocity as both of them.

    Args:
        solver: The table.
        z: Points of the complex plane, of any shape.

    Returns:
        R(z), shaped like z: complex128 for complex z, float64 for real ones.
    """
    # The test equation dx/dt = (z / T) x, so that z is its rate times the interval's length.
    is_complex = z.is_complex() if isinstance(z, Tensor) else isinstance(z, complex)
    rate = torch.as_tensor(z, dtype=torch.complex128 if is_complex else torch.float64) / _length(solver)
    a, b = solver.a.to(rate.dtype), solver.of_equal_answers.to(rate.dtype)

    def combine(i: int, known: Tensor) -> Tensor:
        # r_{i+1} = a_i + (z / T) sum_j b_ij r_j. The basis is (r_0, r_0, .., r_i), since u_j = (z / T) r_j.
        return a[i] + rate.reshape(-1) * (b[i, : i + 1] @ known[1:])

    # r_0 = 1 for every z; one column of the basis is one z.
    basis = rate.new_ones(solver.nfe + 1, rate.numel())
    return last(recursion(basis, lambda _, state: state, combine)).reshape(rate.shape)


def stability_limit(solver: NonStationarySolver) -> float:
    """Return the largest L such that |R(z)| <= max(1, |R(0)|) for all real z in [-L, 0]; inf if it is above LARGEST_LIMIT.

    For z <= 0 the exact state does not grow, and up to a decay of L the table's does not either. Euler's n equal steps
    have L = 2 n, midpoint and Heun n, RK4 2.785 n / 4. The bound is the usual 1, unless the table multiplies x_0 by
    |R(0)| = |a_{n-1}| > 1 even without a field: no L could undo that, so the bound is then this factor.
    """
    # The growth that is allowed: max(1, |R(0)|).
    bound = max(1.0, float(stability(solver, 0.0).abs())) + _ROUNDING
    # A scan of decays -z from 0 to LARGEST_LIMIT brackets the first crossing of the bound.
    scan = torch.logspace(-3, math.log10(LARGEST_LIMIT), _SCAN_POINTS, dtype=torch.float64)
    crossing = _crossing(solver, torch.cat([scan.new_zeros(1), scan]), bound)
    if crossing is None:
        return math.inf
    # Each round makes the bracket a hundred times narrower.
    for _ in range(6):
        finer = torch.linspace(*crossing, 101, dtype=torch.float64)
        crossing = _crossing(solver, finer, bound) or crossing  # None where only rounding had left the bound
    return crossing[1]


def noise_gains(solver: NonStationarySolver) -> Tensor:
    """Return how far independent errors of the evaluations move each state, float64 [n]: ||b_i||_2 / T for x_{i+1}.

    If the table gets u_j + e_j with independent e_j of standard deviation s, row i adds sum_j b_ij e_j to the state, whose
    standard deviation is s ||b_i||_2. It is given relative to s T, the shift by a constant error s over the whole interval.
    This is the direct effect only: velocities would change at the shifted states as well, which is left out. Euler's n equal
    steps end with 1 / sqrt(n), the least that a row can have whose weights sum to T. Where a table weighs two answers, each
    has an error of its own.
    """
    return solver.rows[:, 1:].square().sum(dim=1).sqrt() / _length(solver)


def _length(solver: NonStationarySolver) -> float:
    return float(solver.times[-1] - solver.times[0])


def _crossing(solver: NonStationarySolver, decays: Tensor, bound: float) -> tuple[float, float] | None:
    """Return the neighbours of the increasing ``decays`` between which |R(-decay)| first leaves the bound, or None."""
    # Not "> bound": an overflow to NaN is outside, too.
    outside = ~(stability(solver, -decays).abs() <= bound)
    if not bool(outside.any()):
        return None
    first = int(outside.int().argmax())
    return float(decays[max(first - 1, 0)]), float(decays[first])
