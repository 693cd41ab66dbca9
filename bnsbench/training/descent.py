"""The descent by Gauss-Newton: leg by leg, step by step, until it converges or validation gains nothing any more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from bnsbench.training.families.parametrisation import Block, Parametrisation
from bnsbench.training.objectives import Objective
from bnsbench.training.optimisers.forward_derivatives import Derivative
from bnsbench.training.optimisers.gauss_newton import GaussNewton, Iterate
from bnsbench.training.optimisers.selection import IterateSelection
from bnsbench.training.optimisers.soft_teacher import EVALUATIONS, soft_radius, soften
from bnsbench.truth.pairs import Pairs

IDLE = "no further gain on the validation pairs"
CONVERGED = "converged on the training pairs"
SPENT = "all iterations are spent"
ACCURATE = "accurate to {:g} dB on the validation pairs"


@dataclass(frozen=True)
class Schedule:
    """When a leg has converged, and how it begins.

    Args:
        iterations: at most.
        slow_iterations: in a row after which the leg has converged; slow is one that lowers the training loss by less than
            ``slow_gain``.
        slow_gain: in nats.
        damping: of the first step.
    """

    iterations: int = 40
    slow_iterations: int = 3
    slow_gain: float = 3e-3
    damping: float = 1e-3


@dataclass(frozen=True)
class Leg:
    """A leg of a descent: the pairs that it is on, the parameters that are free (None for all of them), and its schedule."""

    pairs: Pairs
    free: Tensor | None
    schedule: Schedule


@dataclass(frozen=True)
class State:
    """Where a descent stands between two iterations: all that the next one depends on, beside what `IterateSelection` keeps.

    Args:
        theta: the family's parameters [p].
        leg: the number of the leg; -1 before the first one has begun.
        iterations: so far, and of these in this leg.
        damping: of the next step.
        slow: iterations in a row, up to now, that were slow.
        rejected: trials so far whose states left the finite numbers.
        noise: as far as a soft teacher has moved it.
    """

    theta: Tensor
    leg: int = -1
    iterations: int = 0
    iterations_in_leg: int = 0
    damping: float = 0.0
    slow: int = 0
    rejected: int = 0
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
        selection: keeps the iterate with the least validation loss, and counts the cost.
        enough: PSNR in dB on the validation pairs from which on the descent ends.
        seed: of the sketches.
        derivative: how the network is differentiated.
        precision: in which it computes.
    """

    family: Parametrisation
    objective: Objective
    legs: Sequence[Leg]
    selection: IterateSelection
    enough: float
    seed: int
    derivative: Derivative
    precision: torch.dtype

    def steps(self, state: State) -> Iterator[State]:
        """Go on from a state to the end; yield the state at the beginning of every leg and after every iteration."""
        for number in range(max(state.leg, 0), len(self.legs)):
            if self._accurate:
                return
            leg = self.legs[number]
            resumed = number == state.leg
            family = Block(self.family, state.theta, torch.arange(len(state.theta)) if leg.free is None else leg.free)
            newton, iterate = self._begin(leg, family, state if resumed else replace(state, noise=None), resumed)
            if not resumed:
                state = State(
                    theta=family.whole(iterate.theta),
                    leg=number,
                    iterations=state.iterations,
                    damping=leg.schedule.damping,
                    rejected=newton.rejected,
                )
                self._check(state, iterate)
                self.selection.idle = 0
                yield state
            while not self.why_stopped(state):
                if self.objective.soft:
                    newton, iterate = self._soften(leg, newton, iterate)
                loss = iterate.loss
                iterate, damping = newton.step(iterate, state.iterations + 1, state.damping)
                state = State(
                    theta=family.whole(iterate.theta),
                    leg=number,
                    iterations=state.iterations + 1,
                    iterations_in_leg=state.iterations_in_leg + 1,
                    damping=damping,
                    slow=state.slow + 1 if loss - iterate.loss < leg.schedule.slow_gain else 0,
                    rejected=newton.rejected,
                    noise=newton.pairs.x0 if self.objective.soft else None,
                )
                self._check(state, iterate)
                yield state

    def why_stopped(self, state: State) -> str:
        """Return why the leg ends here, or "" if it goes on."""
        schedule = self.legs[state.leg].schedule
        if self._accurate:
            return ACCURATE.format(self.enough)
        if self.selection.exhausted:
            return IDLE
        if state.slow >= schedule.slow_iterations:
            return CONVERGED
        return SPENT if state.iterations_in_leg >= schedule.iterations else ""

    @property
    def _accurate(self) -> bool:
        return self.selection.best_psnr >= self.enough

    def _begin(self, leg: Leg, family: Block, state: State, resumed: bool) -> tuple[GaussNewton, Iterate]:
        """Return the leg's optimiser and the iterate from which it goes on."""
        newton = GaussNewton(
            family=family,
            objective=self.objective,
            pairs=leg.pairs if state.noise is None else replace(leg.pairs, x0=state.noise),
            cost=self.selection.cost,
            seed=self.seed,
            derivative=self.derivative,
            precision=self.precision,
            rejected=state.rejected,
        )
        spent = self.selection.cost.to_dict()
        iterate = newton.evaluate(family.start())
        if resumed:  # it was paid for before the interruption
            self.selection.cost.restore(spent)
            newton.rejected = state.rejected
        return newton, iterate

    def _soften(self, leg: Leg, newton: GaussNewton, iterate: Iterate) -> tuple[GaussNewton, Iterate]:
        """Let the noise come a step towards the student, and run it from there."""
        noise, nfe = leg.pairs.x0, iterate.table.nfe
        softer = soften(iterate.table, self.objective, newton.pairs, noise, soft_radius(noise[0].numel(), nfe))
        self.selection.cost.training += EVALUATIONS * nfe * len(noise)
        newton = replace(newton, pairs=softer)
        return newton, newton.evaluate(iterate.theta)

    def _check(self, state: State, iterate: Iterate) -> None:
        """Measure a state's table on the validation pairs."""
        total = sum(leg.schedule.iterations for leg in self.legs)
        self.selection.check(iterate.table, "Gauss-Newton", state.iterations, total, state.damping)
