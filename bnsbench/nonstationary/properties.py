"""Properties of a table that follow from its numbers alone: errors on a path, size, stability, distance to another table."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from bnsbench.errors import UsageError
from bnsbench.flows.paths import Path
from bnsbench.nonstationary.stability import noise_gains, stability, stability_limit
from bnsbench.nonstationary.table import NonStationarySolver

DECAYS = (-1.0, -4.0)
"""The z at which a table is compared with exp(z): a decay over the interval by a factor of 2.7, and by one of 55."""


@dataclass(frozen=True)
class Properties:
    """Figures of a solver on a path.

    largest_b: max |b_ij|, the c_ij among them. noise_error, data_error: largest residuals of `path_residuals`.
    increasing: whether its times increase strictly, as those of one-step and multistep rules without repeated stages do.
    start_gain: |a_{n-1}|, the factor by which an error of x_0 reaches the end if all velocities stay what they are.
    noise_gain, largest_noise_gain: of the last state and the largest of any, see `noise_gains`.
    stability_limit: see there. decay_errors: |R(z) - exp(z)| for the z of DECAYS, see `stability`.
    """

    nfe: int
    largest_b: float
    noise_error: float
    data_error: float
    increasing: bool
    start_gain: float
    noise_gain: float
    largest_noise_gain: float
    stability_limit: float
    decay_errors: dict[float, float]


@dataclass(frozen=True)
class Distance:
    """The largest absolute differences of two solvers' times, a and b, the c among these."""

    times: float
    a: float
    b: float


def properties(solver: NonStationarySolver, path: Path) -> Properties:
    """Return the figures of a solver made for fields on ``path``."""
    noise_residual, data_residual = path_residuals(solver, path)
    gains = noise_gains(solver)
    return Properties(
        nfe=solver.nfe,
        largest_b=float(solver.rows[:, 1:].abs().max()),
        noise_error=float(noise_residual.abs().max()),
        data_error=float(data_residual.abs().max()),
        increasing=bool((solver.times.diff() > 0).all()),
        start_gain=float(solver.a[-1].abs()),
        noise_gain=float(gains[-1]),
        largest_noise_gain=float(gains.max()),
        stability_limit=stability_limit(solver),
        decay_errors={z: abs(float(stability(solver, z)) - math.exp(z)) for z in DECAYS},
    )


def path_residuals(solver: NonStationarySolver, path: Path) -> tuple[Tensor, Tensor]:
    """Return by how much each state misses the path's sigma and alpha, both float64 [n], if the data are a single point.

    A single data point x_1 has the trajectory x_t = sigma_t eps + alpha_t x_1 with u_t = sigma'_t eps +
    alpha'_t x_1, so a consistent row i fulfils the two sum rules
    a_i sigma_0 + sum_j b_ij sigma'(t_j) = sigma(t_{i+1}) and a_i alpha_0 + sum_j b_ij alpha'(t_j) = alpha(t_{i+1}).
    On CondOT they say a_i = 1 and sum_j b_ij = t_{i+1} - t_0. Exponential integrators fulfil them on every path. Of a single
    point, both answers of a guided network are the same velocity.
    """
    # Row i has velocities at t_0 .. t_i and makes the state at t_{i+1}.
    seen, reached = solver.times[:-1], solver.times[1:]
    # The factors of eps and of x_1 in that state, less those that the path has there.
    b = solver.of_equal_answers
    noise = solver.a * path.sigma(seen[0]) + b @ path.d_sigma(seen) - path.sigma(reached)
    data = solver.a * path.alpha(seen[0]) + b @ path.d_alpha(seen) - path.alpha(reached)
    return noise, data


def distance(first: NonStationarySolver, second: NonStationarySolver) -> Distance:
    """Return how far two solvers of the same NFE are apart, as `alike` tells them; UsageError as it."""
    one, other = alike(first, second)
    weights = one.rows - other.rows
    gaps = (one.times - other.times, weights[:, :1], weights[:, 1:])
    return Distance(*(float(gap.abs().max()) for gap in gaps))


def alike(first: NonStationarySolver, second: NonStationarySolver) -> tuple[NonStationarySolver, NonStationarySolver]:
    """Return two solvers with numbers that mean the same, one of velocities told as one of both answers if the other is.

    Raises:
        UsageError: If their NFE differ, or the guidance scales whose answers they weigh.
    """
    if first.nfe != second.nfe:
        raise UsageError(f"Solvers of {first.nfe} and {second.nfe} NFE cannot be compared number by number.")
    scales = {table.guidance for table in (first, second)} - {None}
    if len(scales) > 1:
        raise UsageError("Solvers that weigh both answers under different guidance cannot be compared number by number.")
    if first.guidance is None and second.guidance is not None:
        first = first.split(second.guidance)
    if second.guidance is None and first.guidance is not None:
        second = second.split(first.guidance)
    return first, second
