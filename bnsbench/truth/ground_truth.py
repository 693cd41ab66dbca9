"""Ground truth: the ODE solved by adaptive Runge-Kutta (Dormand-Prince 5(4) of torchdiffeq), its own error measured.

All samples of a batch share one step size, so one that cannot be followed would stop the others. Where a batch stops, its
halves are solved apart, down to the samples that cannot be solved even alone; errors name these, and the others are kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchdiffeq import odeint

from bnsbench.errors import DivergedError
from bnsbench.flows.fields import BatchField, CountingField, jumps_of
from bnsbench.flows.model import ModelField
from bnsbench.flows.paths import CANONICAL
from bnsbench.flows.precision import time_dtype, times_on
from bnsbench.flows.predictions import per_sample
from bnsbench.flows.scale_time import ScaleTimeField
from bnsbench.truth.psnr import psnr_per_sample

BESIDE = 1e-6
"""So far before and after a jump of the velocity are times of a trajectory, which is interpolated from both of its sides."""


@dataclass(frozen=True)
class Trajectory:
    """Ground-truth states x [times, batch, ...] and velocities u of the same shape at ``times`` [times]."""

    times: Tensor
    x: Tensor
    u: Tensor

    def part(self, index: Tensor | slice) -> Trajectory:
        """Return the trajectories of the samples ``index``."""
        return Trajectory(self.times, self.x[:, index], self.u[:, index])

    def at(self, t: float) -> Tensor:
        """Return the state at time t by cubic Hermite interpolation, of fourth order in the spacing of ``times``."""
        return self.along(torch.full((self.x.shape[1],), t, dtype=torch.float64))

    def along(self, t: Tensor) -> Tensor:
        """Return each sample's state [batch, ...] at its own time t [batch], differentiable in t (as `at`)."""
        # The piece [t_i, t_{i+1}] of each time, and the place s in [0, 1] within it, through which gradients flow.
        moment = t.to("cpu", torch.float64).contiguous()
        i = (torch.searchsorted(self.times, moment.detach(), right=True) - 1).clamp(0, len(self.times) - 2)
        h = self.times[i + 1] - self.times[i]
        s = (moment - self.times[i]) / h
        # x(s) = h00 x_i + h10 h u_i + h01 x_{i+1} + h11 h u_{i+1} with the cubic Hermite basis.
        blend = (1 + 2 * s) * (1 - s) ** 2, h * s * (1 - s) ** 2, s * s * (3 - 2 * s), h * s * s * (s - 1)
        samples = torch.arange(len(t))
        i = i.to(self.x.device)
        knots = self.x[i, samples], self.u[i, samples], self.x[i + 1, samples], self.u[i + 1, samples]
        return sum(
            (per_sample(weight, knot) * knot for weight, knot in zip(blend, knots, strict=True)),
            start=torch.zeros_like(knots[0]),
        )


@dataclass(frozen=True)
class Solution:
    """The adaptive solve of a batch, sample by sample.

    times [times] on the CPU, states [times, batch, ...]: NaN for samples that could not be solved. nfe: evaluations per
    sample. stopped: float64 [batch] on the CPU, the time at which the solve of a sample stopped, NaN for those solved.
    """

    times: Tensor
    states: Tensor
    nfe: float
    stopped: Tensor

    def trajectory(self, field: BatchField) -> Trajectory:
        """Return the states with the field's velocities, one evaluation for each time."""
        times = times_on(self.times, self.states.device)
        with torch.no_grad():
            velocities = torch.stack([field(t, x) for t, x in zip(times, self.states, strict=True)])
        return Trajectory(self.times, self.states, velocities)


def solve(field: BatchField, x0: Tensor, tolerance: float) -> tuple[Tensor, int]:
    """Return the end state x(t_end) [batch, ...] from x(t_begin) = x0, and the NFE spent.

    The step size is shared by the batch, so the result depends on the batch within the tolerance; callers that need a
    reproducible truth keep their batches fixed.

    Args:
        field: The velocity field of the batch.
        x0: Initial states [batch, ...].
        tolerance: Of one step, both relative and absolute.

    Raises:
        DivergedError: Some samples cannot be solved; the message names them.
        UsageError: The model's prediction has no velocity at an end of its interval.
    """
    found = solve_each(field, x0, tolerance)
    check_solved(found.stopped, tolerance)
    return found.states[-1], math.ceil(found.nfe)


def solve_each(field: BatchField, x0: Tensor, tolerance: float, points: int = 2, canonical: bool = False) -> Solution:
    """Return the states at equidistant times over the field's interval, of all samples that can be solved.

    Args:
        field: The velocity field of the batch.
        x0: Initial states [batch, ...].
        tolerance: Of one step, both relative and absolute.
        points: The number of times, both ends among them; those just before and after jumps of the velocity come to them.
        canonical: Whether it is solved as seen on the canonical path, where the same noise levels take the same steps
            whatever path a model has; the times are equidistant there.

    Raises:
        UsageError: The model's prediction has no velocity at an end of its interval.
    """
    if isinstance(field, ModelField):
        field.check_ends()
    if canonical and field.path != CANONICAL:
        return _solve_canonical(field, x0, tolerance, points)
    times = _way_times(field, points)
    with torch.no_grad():
        return _solve(field, x0, times, tolerance)


def _way_times(field: BatchField, points: int) -> Tensor:
    """Return equidistant times of the interval, with those beside the jumps where there are more than its ends."""
    times = torch.linspace(*field.interval, points, dtype=torch.float64)
    jumps = torch.tensor(jumps_of(field) if points > 2 else (), dtype=torch.float64)
    inside = (jumps > times[0] + BESIDE) & (jumps < times[-1] - BESIDE)
    return torch.cat([times, jumps[inside] - BESIDE, jumps[inside] + BESIDE]).sort().values


def _solve_canonical(field: BatchField, x0: Tensor, tolerance: float, points: int) -> Solution:
    """Return the states at times that are equidistant on the canonical path, told on the field's own."""
    changed = ScaleTimeField(field, CANONICAL)
    # x_bar = s_r x, from s_0 x_0; where a solve stops is told as a time of the field's own path.
    found = solve_each(changed, float(changed.scale(changed.interval[0])) * x0, tolerance, points)
    scale = changed.scale(found.times)
    times = field.path.time(CANONICAL.log_snr(found.times)).clamp(*field.interval)
    times[0], times[-1] = field.interval
    stopped = field.path.time(CANONICAL.log_snr(found.stopped))
    states = found.states / scale.to(found.states).reshape(-1, *(1,) * x0.ndim)
    return Solution(times, states, found.nfe, torch.where(found.stopped.isnan(), found.stopped, stopped))


def check_solved(stopped: Tensor, tolerance: float, split: str = "") -> None:
    """Raise an error if the solve of any sample stopped before the end.

    Args:
        stopped: [n], the times at which the solves stopped, NaN for those that did not (see `Solution`).
        tolerance: That of the solve, for the message.
        split: The split in which the samples are numbered; "" for a batch.

    Raises:
        DivergedError: Some have stopped; the message has their numbers.
    """
    bad = torch.nonzero(~stopped.isnan())[:, 0].tolist()
    if not bad:
        return
    where = f"the {split} split" if split else "the batch"
    first = min(bad, key=lambda sample: float(stopped[sample]))
    raise DivergedError(
        f"The ground truth of {len(bad)} of {len(stopped)} samples of {where} cannot be solved to tolerance {tolerance:g}: "
        f"that of {_listed(bad)}. At t = {stopped[first]:.6g} the velocity of sample {first} is not finite or changes too "
        "fast to be followed: mend the model, or choose an interval that leaves such times out."
    )


def ceiling(field: BatchField, x0: Tensor, truth: Tensor, tolerance: float, data_range: float) -> float:
    """Return the PSNR in dB of the ground truth against a solve at a tenth of its tolerance: the most that it can resolve.

    It is the mean over samples of 10 log10(range^2 / MSE). A solver's PSNR near it says more about the truth than about the
    solver.

    Args:
        field: The velocity field of the batch.
        x0: Initial states [batch, ...].
        truth: Their end states, shaped like x0.
        tolerance: With which the truth was solved.
        data_range: The data's largest value less the smallest.

    Raises:
        DivergedError: Some samples cannot be solved at the tighter tolerance.
    """
    # The tighter solve stands for the exact one: its error is about a tenth of the truth's.
    tighter, _ = solve(field, x0, tolerance / 10)
    return float(psnr_per_sample(truth, tighter, data_range).mean())


class _Watch(CountingField):
    """A counter that remembers where a single sample fails: the time of its first non-finite velocity, or its last."""

    time: float | Tensor = math.nan
    broken = False

    def __call__(self, t: Tensor, x: Tensor) -> Tensor:
        velocity = super().__call__(t, x)
        if len(x) == 1 and not self.broken:  # of one sample only: to look at values makes an accelerator wait
            self.time, self.broken = t, not bool(velocity.isfinite().all())
        return velocity


def _solve(field: BatchField, x0: Tensor, times: Tensor, tolerance: float) -> Solution:
    """Solve the batch together; if it stops, its halves, and so on."""
    # All samples in one solve, which is far cheaper where it succeeds.
    watch, size = _Watch(field), len(x0)
    states = _integrate(watch, x0, times, tolerance)
    if states is not None:
        return Solution(times, states, watch.nfe, torch.full((size,), math.nan, dtype=torch.float64))
    # A sample that stops by itself has no truth, but a time at which it stopped.
    if size <= 1:
        nothing = x0.new_full((len(times), *x0.shape), math.nan)
        # A step that is no number leads to a time that is none.
        moment = float(times[0]) if math.isnan(float(watch.time)) else float(watch.time)
        return Solution(times, nothing, watch.nfe, torch.full((size,), moment, dtype=torch.float64))
    # Each half gets a step size of its own, so that only the half with the bad sample is divided further.
    halves = slice(0, size // 2), slice(size // 2, size)
    parts = [_solve(field.part(half), x0[half], times, tolerance) for half in halves]
    states = torch.cat([part.states for part in parts], dim=1)
    # Every sample paid for the solve that stopped, and its share of the halves.
    nfe = watch.nfe + sum(part.nfe * len(part.stopped) for part in parts) / size
    return Solution(times, states, nfe, torch.cat([part.stopped for part in parts]))


def _integrate(field: BatchField, x0: Tensor, times: Tensor, tolerance: float) -> Tensor | None:
    """Return the states at the times [times, batch, ...], or None if a step underflows or a state is not finite."""
    moments = times_on(times, x0.device)
    # step_t: without it the last step would overshoot the interval and interpolate back.
    # jump_t: no step goes across a jump, and the next one begins with the velocity on its other side.
    jumps = moments.new_tensor(jumps_of(field))
    options = {"step_t": moments[-1:], "jump_t": jumps, "dtype": time_dtype(x0.device)}
    try:
        states: Tensor = odeint(
            _beside_jumps(field), x0, moments, rtol=tolerance, atol=tolerance, method="dopri5", options=options
        )
    except AssertionError as error:
        if _is_a_stop(error):
            return None
        raise
    return states if bool(states.isfinite().all()) else None


def _beside_jumps(field: BatchField) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the velocity with times at a jump told as times on the side of it that is meant.

    Dopri5 asks for the velocities before and after a jump at neighbouring numbers of float64, which are one to a network in
    float32.
    """
    jumps = jumps_of(field)

    def velocity(t: Tensor, x: Tensor) -> Tensor:
        for jump in jumps:
            gap = t - jump
            beside = jump + BESIDE * torch.where(gap > 0, 1.0, -1.0).to(t)
            t = torch.where(gap.abs() < BESIDE, beside, t)
        return field(t, x)

    return velocity if jumps else field


def _is_a_stop(error: AssertionError) -> bool:
    """Whether torchdiffeq says in this way that it could not go on; other assertions are the field's own faults."""
    return str(error).startswith(("underflow in dt", "non-finite values in state"))


def _listed(samples: Sequence[int], most: int = 30) -> str:
    word = "sample" if len(samples) == 1 else "samples"
    more = f" and {len(samples) - most} more" if len(samples) > most else ""
    return f"{word} {', '.join(map(str, samples[:most]))}{more}"
