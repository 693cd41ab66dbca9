"""The descent by Gauss-Newton: leg by leg, step by step, until it converges or validation gains nothing any more."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from bnsbench.training.economy import Economy
from bnsbench.training.families.parametrisation import Block, Parametrisation
from bnsbench.training.floor import floor_under, share_at
from bnsbench.training.objectives import Objective
from bnsbench.training.optimisers.forward_derivatives import Derivative
from bnsbench.training.optimisers.gauss_newton import GaussNewton, Iterate
from bnsbench.training.optimisers.selection import IterateSelection
from bnsbench.training.optimisers.soft_teacher import EVALUATIONS, soft_radius, soften
from bnsbench.training.problem import DECIBELS_PER_NAT
from bnsbench.training.teaching import Teaching
from bnsbench.truth.pairs import Pairs

IDLE = "no further gain on the validation pairs"
CONVERGED = "converged on the training pairs"
SPENT = "all iterations are spent"
ACCURATE = "accurate to {:g} dB on the validation pairs"
MORE_PAIRS = "; more training pairs would gain less than {:.2g} dB"


@dataclass(frozen=True)
class Schedule:
    """When a leg has converged, and how it begins.

    Args:
        iterations: at most.
        slow_iterations: in a row after which the leg has converged; slow is one that lowers the training loss by less than
            ``slow_gain``.
        slow_gain: in nats.
        leaving_gain: in nats; where another leg follows, on which the rest can be gained, one iteration that lowers the
            training loss or the validation loss by less ends the leg.
        damping: of the first step.
    """

    iterations: int = 40
    slow_iterations: int = 2
    slow_gain: float = 1e-2
    leaving_gain: float = 3e-2
    damping: float = 1e-3


@dataclass(frozen=True)
class Leg:
    """A leg of a descent.

    Args:
        pairs: so many of the training split.
        free: the parameters that are free, by index; None for all of them.
        schedule: when it ends.
        least_excess: nats that the parameters have to lose by the fewer pairs of the leg before, or the leg is left out.
    """

    pairs: int
    free: Tensor | None
    schedule: Schedule
    least_excess: float = 0.0


@dataclass(frozen=True)
class State:
    """Where a descent stands between two iterations: all that the next one depends on, beside what `IterateSelection` keeps.

    Args:
        theta: the family's parameters [p].
        leg: the number of the leg; -1 before the first one has begun.
        iterations: so far, and of these in this leg.
        damping: of the next step.
        slow: iterations in a row, up to now, that were slow.
        gained: nats by which the last iteration has lowered both the training loss and the validation loss.
        validated: the validation loss of theta in nats; inf where the truth has changed since.
        still: iterations so far at which no step lowered the loss.
        rejected: trials so far whose states left the finite numbers.
        excess: nats that the parameters lose because the leg has no more pairs, as far as is known.
        floor: under which the last step was chosen, an error.
        level: the number of the teacher (see `Teaching`).
        noise: as far as a soft teacher has moved it.
    """

    theta: Tensor
    leg: int = -1
    iterations: int = 0
    iterations_in_leg: int = 0
    damping: float = 0.0
    slow: int = 0
    gained: float = torch.inf
    validated: float = torch.inf
    still: int = 0
    rejected: int = 0
    excess: float = torch.inf
    floor: float = 0.0
    level: int = 0
    noise: Tensor | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the state as tensors and plain numbers."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> State | None:
        """Return the state that `to_dict` gave, which may stand among other things; None if it is of another version."""
        names = [field.name for field in fields(cls)]
        return cls(**{name: saved[name] for name in names}) if saved.keys() >= set(names) else None


@dataclass(frozen=True)
class Descent:
    """What a descent is made of, from its beginning to its end.

    Args:
        family: what the table has to choose.
        objective: whose loss is lowered on the pairs of the legs, one leg after the other.
        legs: the legs.
        teaching: gives them their pairs.
        along: whether the objective looks at the way.
        selection: keeps the iterate with the least validation loss, and counts the cost.
        floor: share of the median error that the floor ends at.
        enough: PSNR in dB on the validation pairs from which on the descent ends.
        seed: of the sketches.
        derivative: how the network is differentiated.
        precision: in which it computes.
        checkpointed: whether it computes activations once more on the way back.
    """

    family: Parametrisation
    objective: Objective
    legs: Sequence[Leg]
    teaching: Teaching
    along: bool
    selection: IterateSelection
    floor: float
    enough: float
    seed: int
    derivative: Derivative
    precision: torch.dtype
    checkpointed: bool = False

    def steps(self, state: State) -> Iterator[State]:
        """Go on from a state to the end; yield the state at the beginning of every leg and after every iteration."""
        for number in range(max(state.leg, 0), len(self.legs)):
            resumed = number == state.leg
            leg = self.legs[number]
            if self._accurate(leg) or not (resumed or self.economy.taken(state.excess, leg)):
                return
            if not resumed:
                self._sharpen(leg)
                state = replace(state, noise=None)
            pairs = self._pairs(leg)
            newton, iterate = self._begin(leg, pairs, state, resumed)
            if not resumed:
                state = replace(
                    state,
                    theta=self._block(leg, state).whole(iterate.theta),
                    leg=number,
                    iterations_in_leg=0,
                    damping=leg.schedule.damping,
                    slow=0,
                    gained=torch.inf,
                    rejected=newton.rejected,
                    floor=newton.floor,
                    level=self.teaching.level,
                )
                state = replace(state, validated=self._check(state, iterate))
                self.selection.idle = 0
                yield state
            while self._outgrown(leg) or not self.why_stopped(state):
                if self._outgrown(leg):
                    self._sharpen(leg)
                    pairs = self._pairs(leg)
                    newton, iterate = self._begin(leg, pairs, state, resumed=False)
                    state = replace(state, slow=0, gained=torch.inf, validated=torch.inf, level=self.teaching.level)
                if self.objective.soft:
                    newton, iterate = self._soften(pairs, newton, iterate)
                iterate = newton.under(self._floor(state, iterate), iterate)
                before = iterate.loss
                with self.economy.allowance.timed():
                    iterate, damping = newton.step(iterate, state.iterations, state.damping)
                # While the floor comes down, an iteration that gains little says nothing of the next one.
                gain, settled = before - iterate.loss, share_at(state.iterations, self.floor) <= self.floor
                slow = self.economy.slow_gain(leg)
                self.economy.be_patient(leg)
                state = replace(
                    state,
                    theta=self._block(leg, state).whole(iterate.theta),
                    iterations=state.iterations + 1,
                    iterations_in_leg=state.iterations_in_leg + 1,
                    damping=damping,
                    slow=state.slow + 1 if settled and gain < slow else 0,
                    still=state.still + (not gain > 0),
                    rejected=newton.rejected,
                    excess=newton.excess,
                    floor=newton.floor,
                    noise=newton.pairs.x0 if self.objective.soft else None,
                )
                validated = self._check(state, iterate)
                gained = min(gain, state.validated - validated) if settled else torch.inf
                state = replace(state, gained=gained, validated=validated)
                yield state

    def why_stopped(self, state: State) -> str:
        """Return why the leg ends here, or "" if it goes on."""
        if self._accurate(self.legs[max(state.leg, 0)]):
            return ACCURATE.format(self.enough)
        if state.leg < 0:
            return self.economy.spent
        leg, following = self.legs[state.leg], self.legs[state.leg + 1 :][:1]
        worth = bool(following) and self.economy.worth(state.excess, following[0])
        goes_on = worth and self.economy.taken(state.excess, following[0])
        if self.selection.exhausted:
            return self.economy.spent if worth and not goes_on else self._in_full(IDLE, following)
        if state.gained < self.economy.leaving_gain(leg) if goes_on else state.slow >= leg.schedule.slow_iterations:
            return self.economy.spent if worth and not goes_on else self._in_full(CONVERGED, following)
        if state.iterations_in_leg >= leg.schedule.iterations:
            return SPENT
        return "" if self.economy.affords_step(leg) else self.economy.spent

    def _in_full(self, reason: str, following: Sequence[Leg]) -> str:
        """Return the reason, with what a leg on more pairs would have gained, if there is one."""
        least = [DECIBELS_PER_NAT * self.economy.least_excess(leg) for leg in following]
        return "".join([reason, *map(MORE_PAIRS.format, least)])

    @cached_property
    def economy(self) -> Economy:
        """What legs and steps cost, and whether they are worth it."""
        size = math.prod(self.selection.problem.source.model.shape) * (self.selection.nfe if self.objective.whole else 1)
        return Economy(self.selection, self.teaching, len(self.family.start()), size, self.derivative, self.precision)

    def _accurate(self, leg: Leg) -> bool:
        return self.selection.best_psnr >= self.enough and not self._outgrown(leg)

    def _outgrown(self, leg: Leg) -> bool:
        """Whether the student has come so near to its truth that this one's own error counts, and a finer one fits."""
        return self.economy.finer_fits(leg) and self.teaching.outgrown(self.selection.best_psnr)

    def _floor(self, state: State, iterate: Iterate) -> float:
        share = share_at(state.iterations, self.floor)
        return floor_under(share, iterate.errors) if self.objective.logarithmic else 0.0

    def _sharpen(self, leg: Leg) -> None:
        """See to a truth that is fine enough for the best table so far."""
        if self.economy.finer_fits(leg) and self.teaching.sharpen(self.selection.best_psnr):
            self._validate_anew()

    def _pairs(self, leg: Leg) -> Pairs:
        """Return the leg's pairs, by a finer teacher than before if the present one cannot solve them."""
        before = self.teaching.level
        pairs = self.teaching.pairs("train", leg.pairs, self.along)
        if self.teaching.level != before:
            self._validate_anew()
        return pairs

    def _validate_anew(self) -> None:
        """Validate on the truth of the teacher at work."""
        self.selection.idle = 0
        self.selection.measure_again(self.teaching.pairs("validation", len(self.selection.pairs), self.along))

    def _block(self, leg: Leg, state: State) -> Block:
        """Return the leg's free parameters of a state."""
        return Block(self.family, state.theta, torch.arange(len(state.theta)) if leg.free is None else leg.free)

    def _begin(self, leg: Leg, pairs: Pairs, state: State, resumed: bool) -> tuple[GaussNewton, Iterate]:
        """Return an optimiser on the leg's pairs and the state's iterate, from which it goes on."""
        family = self._block(leg, state)
        newton = GaussNewton(
            family=family,
            objective=self.objective,
            pairs=pairs if state.noise is None else replace(pairs, x0=state.noise),
            cost=self.selection.cost,
            seed=self.seed,
            derivative=self.derivative,
            precision=self.precision,
            checkpointed=self.checkpointed,
            floor=state.floor if resumed else 0.0,
            rejected=state.rejected,
            affords=self.economy.affords_trials,
        )
        if resumed:  # as it was, and paid for before the interruption
            return newton, newton.present(family.start())
        iterate = newton.evaluate(family.start())
        return newton, newton.under(self._floor(state, iterate), iterate)

    def _soften(self, pairs: Pairs, newton: GaussNewton, iterate: Iterate) -> tuple[GaussNewton, Iterate]:
        """Let the noise come a step towards the student, and run it from there."""
        noise, nfe = pairs.x0, iterate.table.nfe
        softer = soften(iterate.table, self.objective, newton.pairs, noise, soft_radius(noise[0].numel(), nfe))
        self.selection.cost.training += EVALUATIONS * nfe * len(noise)
        newton = replace(newton, pairs=softer)
        return newton, newton.evaluate(iterate.theta)

    def _check(self, state: State, iterate: Iterate) -> float:
        """Measure a state's table on the validation pairs; return its loss there in nats."""
        total = sum(leg.schedule.iterations for leg in self.legs)
        return self.selection.check(iterate.table, "Gauss-Newton", state.iterations, total, state.damping)
