"""Tracing: the table of any sampler that is linear in its states and the field's values, found by running it.

The sampler gets basis vectors in place of numbers: x_0 is the first of them, and its k-th evaluation returns the k-th after
that. Every state is then the vector of its own coefficients, a row of the table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bnsbench.errors import NotApplicableError
from bnsbench.flows.fields import BatchField
from bnsbench.flows.paths import Path, as_time
from bnsbench.nonstationary.table import NonStationarySolver
from bnsbench.process.random_states import seeded_random_states

Sampler = Callable[[BatchField, Tensor], Tensor]
"""Takes a field and initial states, and returns end states of the same shape."""

Shape = Callable[[int], tuple[int, ...]]
"""The shape of a state of so many numbers."""

Values = Callable[[int], Tensor]
"""The numbers that a sampler gets, flat: the initial state for 0, the field's k-th value for k."""

MAXIMAL_NFE = 2048

ENLARGEMENT = 2.0**10
"""A factor for all states that tells rounding from clipping: rounding scales with them exactly, clipping does not."""


class NotTraceableError(NotApplicableError):
    """A sampler that no table can express: stochastic, adaptive, not linear, or mixing coordinates."""


def trace(
    sampler: Sampler,
    path: Path,
    interval: tuple[float, float] = (0.0, 1.0),
    *,
    shape: Shape = lambda numbers: (numbers,),
    tolerance: float = 1e-12,
) -> NonStationarySolver:
    """Return the table of a sampler, found by running it on basis vectors and checked on random states.

    The sampler runs five times, in float64 on the CPU, and its linearity is checked on random states of two magnitudes.
    The global random states are left as they were.

    Args:
        sampler: A function (field, x0) -> x1 that evaluates the field and combines its values.
        path: The Gaussian path of the fields that it is for.
        interval: Their times (t_begin, t_end).
        shape: From a number of entries to the shape of a state, for samplers that expect more axes than one; the checks
            join two such states along the first axis.
        tolerance: The relative deviation from the table that counts as rounding; a sampler that computes in float32 needs
            about 1e-5.

    Raises:
        NotTraceableError: The sampler has no table; the message says why.
    """

    def run(values: Values, size: tuple[int, ...], seed: int = 0) -> _Run:
        with seeded_random_states(seed):
            return _run(sampler, _Probe(path, interval, values, size))

    # Two samples of random numbers, once small and once large: neither may change when the sampler evaluates.
    rows, *rest = shape(4)
    size = (2 * rows, *rest)
    small, large = _random_values(1e-3, size), _random_values(1e3, size)
    first, second = run(small, size), run(large, size)
    _check_times(first, second, interval, tolerance)
    # A table has no randomness, and acts on each coordinate by itself.
    again, changed = run(small, size, seed=1), run(_changed(large), size)
    _check(again.equals(first), "stochastic: two runs from different random states disagree")
    _check(changed.equals(second, tolerance, without=1), "mixing: coordinates or samples of its states depend on each other")
    # The tracing: x_0 = e_0 and u_j = e_{j+1}, so that x_{i+1} = (a_i, b_i0, .., b_ii, 0, ..).
    basis = torch.eye(first.nfe + 1, dtype=torch.float64)
    found = run(basis.__getitem__, shape(first.nfe + 1))
    _check_times(first, found, interval, tolerance)
    _check_rows(found.states, tolerance)
    # The table has to predict the states of the first two runs, or else the sampler is not linear.
    for values, observed in ((small, first), (large, second)):
        deviation = _nonlinearity(found.states, torch.stack([values(k) for k in range(first.nfe + 1)]), observed.states)
        if not deviation <= tolerance:
            enlarged = run(_enlarged(values), size)
            rounds = enlarged.equals(_Run(observed.times, ENLARGEMENT * observed.states))
            raise _not_traceable(_why_not_linear(deviation, tolerance, rounds))
    return found.solver(interval)


def retrace(sampler: Sampler, path: Path, interval: tuple[float, float], nfe: int) -> NonStationarySolver:
    """Return the table of a sampler that `trace` has found linear before, by one run and without checks.

    It is for the same sampler at other times, for example.

    Args:
        sampler: A function (field, x0) -> x1.
        path: The Gaussian path of the fields that it is for.
        interval: Their times (t_begin, t_end).
        nfe: Its evaluations.
    """
    basis = torch.eye(nfe + 1, dtype=torch.float64)
    found = _run(sampler, _Probe(path, interval, basis.__getitem__, (nfe + 1,)))
    return found.solver(interval)


@dataclass(frozen=True)
class _Run:
    """What a sampler did: the times [n] of its evaluations, and the states [n + 1, numbers] there and at its end."""

    times: Tensor
    states: Tensor

    @property
    def nfe(self) -> int:
        return len(self.times)

    def solver(self, interval: tuple[float, float]) -> NonStationarySolver:
        """Return the table that a run on basis vectors shows."""
        # Rounding may have moved a time beyond an end. State 0 is x_0 itself; the others are the rows.
        times = torch.cat([self.times.clamp(*interval), torch.tensor(interval[1:], dtype=torch.float64)])
        return NonStationarySolver(times, self.states[1:, 0], self.states[1:, 1:].tril())

    def equals(self, other: _Run, tolerance: float = 0.0, without: int = 0) -> bool:
        """Whether the states agree, all but the first ``without`` coordinates."""
        if self.states.shape != other.states.shape:
            return False
        mine, theirs = self.states[:, without:], other.states[:, without:]
        scale = float(theirs.nan_to_num().abs().max())
        return torch.allclose(mine, theirs, rtol=0.0, atol=tolerance * scale, equal_nan=True)


class _Probe:
    """A velocity field whose k-th value is prescribed, whatever it is asked; it records what it is asked."""

    forwards_per_evaluation = 1

    def __init__(self, path: Path, interval: tuple[float, float], values: Values, size: tuple[int, ...]) -> None:
        self.path = path
        self.interval = interval
        self.values = values
        self.start = values(0).reshape(size)
        self.times: list[float] = []
        self.states: list[Tensor] = []

    def __call__(self, t: Tensor, x: Tensor) -> Tensor:
        moments = as_time(t).detach().reshape(-1)
        _check(bool(moments.isfinite().all()), "out of bounds: it evaluates the field at a time that is not a finite number")
        _check(bool((moments == moments[0]).all()), "per-sample: it evaluates samples at different times")
        _check(len(self.times) < MAXIMAL_NFE, f"too long: it spends more than {MAXIMAL_NFE} evaluations")
        self.times.append(float(moments[0]))
        self.record(x)
        return self.values(len(self.times)).reshape(self.start.shape).to(x, copy=True)

    def record(self, x: Tensor) -> None:
        """Keep a copy of a state, since the sampler may go on working in its memory."""
        _check(x.shape == self.start.shape, f"reshaping: it makes a {list(x.shape)} of a {list(self.start.shape)} state")
        self.states.append(x.detach().to("cpu", torch.float64, copy=True).reshape(-1))

    def part(self, index: Tensor | slice) -> _Probe:
        """Return itself: its values know no conditions."""
        del index
        return self


def _run(sampler: Sampler, probe: _Probe) -> _Run:
    with torch.no_grad():
        probe.record(sampler(probe, probe.start.clone()))
    return _Run(torch.tensor(probe.times, dtype=torch.float64), torch.stack(probe.states))


def _random_values(magnitude: float, size: tuple[int, ...]) -> Values:
    def values(k: int) -> Tensor:
        # A function of k alone, so that all runs see the same numbers.
        numbers = np.random.default_rng([k, int(magnitude)]).standard_normal(int(np.prod(size)))
        return magnitude * torch.from_numpy(numbers)

    return values


def _changed(values: Values) -> Values:
    """Return the values with another first coordinate, at every evaluation."""

    def changed(k: int) -> Tensor:
        result = values(k)
        result[0] *= -3.0
        return result

    return changed


def _enlarged(values: Values) -> Values:
    """Return the values times a power of two, which rounding does not notice and clipping does."""
    return lambda k: ENLARGEMENT * values(k)


def _check(holds: bool, reason: str) -> None:
    if not holds:
        raise _not_traceable(reason)


def _not_traceable(reason: str) -> NotTraceableError:
    return NotTraceableError(f"This sampler has no table of coefficients. It is {reason}.")


def _check_times(run: _Run, other: _Run, interval: tuple[float, float], tolerance: float) -> None:
    begin, end = interval
    slack = tolerance * (end - begin)
    _check(run.nfe > 0, "not a sampler: it never evaluates the field")
    same = run.nfe == other.nfe and torch.allclose(run.times, other.times, rtol=0.0, atol=slack)
    _check(same, "adaptive: its evaluation times depend on the states")
    inside = bool(((run.times >= begin - slack) & (run.times <= end + slack)).all())
    _check(inside, f"out of bounds: it evaluates the field outside of [{begin:g}, {end:g}]")


def _check_rows(rows: Tensor, tolerance: float) -> None:
    _check(bool(rows.isfinite().all()), "singular: its coefficients are not all finite")
    # State 0, where the first evaluation is, has to be x_0 = e_0.
    start = torch.zeros_like(rows[0])
    start[0] = 1.0
    _check(bool((rows[0] - start).abs().max() <= tolerance), "rescaling: its first evaluation is not at the initial state")


def _nonlinearity(rows: Tensor, values: Tensor, states: Tensor) -> float:
    """Return the largest error of the states that the rows predict, relative to the largest sum of their terms' sizes."""
    # sum_j |b_ij| |u_j| is not small where the terms cancel, so rounding is judged by what was added.
    scale = float((rows.abs() @ values.abs()).max())
    return float((rows @ values - states).abs().max()) / scale


def _why_not_linear(deviation: float, tolerance: float, rounds: bool) -> str:
    reason = "not linear in its states and the field's values"
    if rounds:
        return f"{reason} to {tolerance:.1g}, but to {deviation:.1g}: that is how much its arithmetic rounds"
    return f"{reason}: it clips, thresholds or shifts"
