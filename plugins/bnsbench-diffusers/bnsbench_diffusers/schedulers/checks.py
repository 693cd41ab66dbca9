"""Whether a traced table is the scheduler: two witnesses that know nothing of how it was traced.

The first is the scheduler itself: stepping on random outputs, which cost no network, it must pass the table's states and end
where the table does, with the outputs made velocities by formulas of their own. The second is the path. A state that is
always made of the same data and the same noise stays so under every solver of the path's equation, which makes sums of its
coefficients known.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from bnsbench.plugin import NonStationarySolver, seeded_random_states
from bnsbench_diffusers.schedule import FLOW, noise_levels
from bnsbench_diffusers.schedulers.conventions import SAME_LOG_SNR
from bnsbench_diffusers.schedulers.drivers import Driver, Evaluation, Respond
from bnsbench_diffusers.schedulers.noise import difference

EXACT = 1e-6
"""The deviation that is allowed to every scheduler."""

MARGIN = 30.0
"""How much more than one measurement of its own rounding is allowed to a scheduler that computes in float32."""

NUMBERS = 8
"""Numbers of a state on which a scheduler steps."""

FLOAT32 = 2.0**-21
"""Several roundings of a coefficient in float32."""

SUMS = 1e-2
"""The deviation of a state of constant noise that rounding explains, where differences of coefficients are taken."""

SAME_LEVEL = 1e-3
"""The difference of two noise levels, as angles atan(sigma / alpha), that interpolation between timesteps explains."""

TIMESTEPS = 1000
"""Timesteps of schedulers that do not say how many they round to."""

FINE = (50, 100)
"""Numbers of steps from one to the other of which a deviation must fall that is the scheduler's own error."""

FALLS = 0.75
"""To which part it must fall; an error of first order falls to one half."""


@dataclass(frozen=True)
class Steps:
    """A scheduler that steps on random values: its states on the path, and the velocities that were meant.

    states: float64 [n + 1, 3, numbers], of values as they are, twice and three times as large. velocities: [n, 3, numbers].
    """

    states: Tensor
    velocities: Tensor

    @property
    def rounding(self) -> float:
        """How much the scheduler rounds, relative to its states; nothing for one that clips.

        Twice the values make exactly twice the states, but three times the values only up to rounding. Whatever is not exact
        for two is no rounding.
        """
        once, twice, thrice = self.states.unbind(1)
        if not torch.equal(2.0 * once, twice):
            return 0.0
        return float((thrice / 3.0 - once).abs().max() / once.abs().max())

    def deviation(self, solver: NonStationarySolver) -> float:
        """Return how far the states are from those of a table, relative to the largest."""
        states, velocities = self.states[:, 0], self.velocities[:, 0]
        found = torch.cat([states[:1], solver.a[:, None] * states[:1] + solver.b @ velocities])
        return float((found - states).abs().max() / states.abs().max())


def steps_on(driver: Driver, prepared: Any, values: Literal["outputs", "velocities"]) -> Steps:
    """Return what a scheduler does on random outputs of its network, or on random velocities."""
    count = len(prepared.timesteps)
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(count + 1, 1, 1, NUMBERS, generator=generator, dtype=torch.float64)
    x0, *given = (drawn * torch.tensor([1.0, 2.0, 3.0]).double().reshape(1, 1, 3, 1)).flatten(2)[..., None, None]
    states: list[Tensor] = []
    velocities: list[Tensor] = []

    def respond(at: Evaluation, state: Tensor) -> Tensor:
        value = given[at.i]
        states.append(state)
        velocities.append(driver.velocity(at, state, value) if values == "outputs" else value)
        return value if values == "outputs" else driver.output(at, state, value)

    with seeded_random_states(0):
        states.append(driver.run(respond, x0, prepared))
    return Steps(*(torch.stack(parts).double().reshape(len(parts), 3, NUMBERS) for parts in (states, velocities)))


def tolerance_of(*runs: Steps) -> float:
    """Return the relative deviation that counts as rounding."""
    return EXACT + MARGIN * max(steps.rounding for steps in runs)


def check_times(driver: Driver, scheduler: Any) -> None:
    """Raise NotApplicableError unless the field is evaluated at times of the interval, one after the other."""
    told = driver.told(scheduler)
    if not bool(told.isfinite().all()):
        k = int(told.isfinite().long().argmin()) + 1
        raise driver.refuse(f"with {len(told)} evaluations the time of evaluation {k} is not a number.")
    begin, end = driver.interval
    outside = (told < begin - EXACT) | (told > end + EXACT)
    if bool(outside.any()):
        i = int(outside.long().argmax())
        timestep = f"timestep {float(scheduler.timesteps[i]):g}"
        where = f"{timestep}, which is the time {float(told[i]):.4g} outside of [{begin:g}, {end:g}]"
        raise driver.refuse(f"with {len(told)} evaluations number {i + 1} is at the {where}.")
    if hasattr(scheduler, "index_for_timestep") and int((scheduler.timesteps == scheduler.timesteps[0]).sum()) > 1:
        twice = f"{float(scheduler.timesteps[0]):g}"
        raise driver.refuse(
            f"with {len(told)} evaluations it has its first timestep, {twice}, twice, begins with the second, and has no "
            "step left in the end."
        )


def check_table(driver: Driver, prepared: Any, solver: NonStationarySolver, steps: Steps, tolerance: float) -> None:
    """Raise NotApplicableError if a table is not the scheduler, or the scheduler does not solve the path's equation.

    steps: the scheduler's own on random outputs, from which the table may deviate by ``tolerance``.
    """
    _check_levels(driver, prepared)
    _check_ratios(driver, prepared)
    predicted = getattr(driver, "prediction_type", FLOW)
    if not bool(steps.velocities.isfinite().all()):
        raise driver.refuse(f"the output {predicted!r} does not determine the velocity at one of its times.")
    deviation = steps.deviation(solver)
    if not deviation <= tolerance:
        raise driver.refuse(
            f"its table is not the scheduler itself, which goes {deviation:.2g} away from it on random outputs of a network "
            f"that predicts {predicted!r}."
        )
    _check_sums(driver, prepared, solver)


def deviations_of_sums(driver: Driver, prepared: Any, solver: NonStationarySolver) -> tuple[float, float]:
    """Return how far the sums of a table's coefficients are from what the path says, for its data and for its noise."""

    def run(respond: Respond, x0: Tensor, scheduler: Any) -> Tensor:
        x, velocities = x0, []
        for i, t in enumerate(solver.times[:-1]):
            at = Evaluation(scheduler, i, t)
            velocities.append(driver.velocity(at, x, respond(at, x)))
            x = solver.a[i] * x0 + torch.tensordot(solver.b[i, : i + 1], torch.stack(velocities), dims=1)
        return x

    return _deviations(driver, prepared, run)


def deviations_on_line(driver: Driver, prepared: Any) -> tuple[float, float]:
    """Return how far from where the path has it the scheduler itself ends a state of constant data, or constant noise."""
    return _deviations(driver, prepared, driver.run)


def _deviations(driver: Driver, prepared: Any, run: Callable[[Respond, Tensor, Any], Tensor]) -> tuple[float, float]:
    ratios = driver.ratios(prepared)
    begin, end = (torch.tensor(driver.point(float(ratio)), dtype=torch.float64) for ratio in (ratios[0], ratios[-1]))

    def respond(at: Evaluation, state: Tensor) -> Tensor:
        found = [driver.output_on_line(at, *parts) for parts in ((1.0, 0.0), (0.0, 1.0))]
        return torch.tensor(found, dtype=torch.float64).reshape(state.shape)

    reached = run(respond, begin.reshape(1, 2, 1, 1), prepared).reshape(-1)
    data, noise = (reached - end).abs().nan_to_num(math.inf).tolist()
    return data, noise


def _check_levels(driver: Driver, scheduler: Any) -> None:
    levels = driver.levels()
    if levels is None:
        return
    away = difference(torch.tensor(noise_levels(scheduler), dtype=torch.float64), levels)
    if not away < SAME_LOG_SNR:
        raise driver.refuse(f"its noise levels are not the path's: they are {away:.2g} away in log-SNR.")


def _check_ratios(driver: Driver, scheduler: Any) -> None:
    """Compare the noise levels that the scheduler takes its states to have with the path's at the times that are told."""
    ratios = driver.ratios(scheduler)
    if not ratios[-1] < ratios[0]:
        raise driver.refuse(
            f"with {len(ratios) - 1} evaluations it ends at the noise level {float(ratios[-1]):.4g}, at which it began."
        )
    told, found = driver.times(scheduler), ratios[:-1]
    timesteps = len(getattr(scheduler, "alphas_cumprod", range(TIMESTEPS)))
    step = (driver.interval[1] - driver.interval[0]) / (timesteps - 1)
    # Schedulers round timesteps: a level may be that of the timestep before or after.
    before, here, after = (driver.spread(driver.ratio(t.clamp(*driver.interval))) for t in (told - step, told, told + step))
    slack = torch.maximum((before - here).abs(), (after - here).abs()) + SAME_LEVEL
    excess = (driver.spread(found) - here).abs() - slack
    if bool((excess > 0).any()) or not bool(excess.isfinite().all()):
        i = int(excess.nan_to_num(math.inf).argmax())
        raise driver.refuse(
            f"evaluation {i + 1} is at the timestep {float(scheduler.timesteps[i]):g} but takes its state to have the noise "
            f"level {float(found[i]):.4g}, where the model's path has {float(driver.ratio(told[i])):.4g}."
        )


def _check_sums(driver: Driver, prepared: Any, solver: NonStationarySolver) -> None:
    largest = float(driver.ratios(prepared)[0].clamp(1.0, SUMS / FLOAT32))
    allowed = (EXACT + FLOAT32 * largest, SUMS)
    found = deviations_of_sums(driver, prepared, solver)
    if all(deviation <= most for deviation, most in zip(found, allowed, strict=True)):
        return
    # Some are not exact but converge: those that combine outputs v, and those whose steps are not those of their timesteps.
    coarse, fine = (_deviations_with(driver, steps) for steps in FINE)
    for deviation, most, before, after in zip(found, allowed, coarse, fine, strict=True):
        if deviation > most and after > max(most, FALLS * before):
            raise driver.refuse(
                f"it does not solve the equation of the path {driver.path.name!r}: a state made of always the same data and "
                f"noise ends {deviation:.2g} away from where the path has it, and with {FINE[-1]} steps {after:.2g}."
            )


def _deviations_with(driver: Driver, steps: int) -> tuple[float, float]:
    """Return the deviations with so many steps, infinite where the scheduler cannot take them."""
    try:
        return deviations_on_line(driver, driver.prepare(steps))
    except (ValueError, IndexError, AssertionError, RuntimeError):
        return math.inf, math.inf
