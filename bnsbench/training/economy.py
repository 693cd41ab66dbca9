"""What the legs and steps of a descent will cost, whether they are worth it, and whether a budget has room for them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch

from bnsbench.training.allowance import Allowance
from bnsbench.training.optimisers.costs import step
from bnsbench.training.optimisers.forward_derivatives import Derivative
from bnsbench.training.optimisers.selection import IterateSelection
from bnsbench.training.teaching import Teaching

if TYPE_CHECKING:
    from bnsbench.training.descent import Leg

BUDGET = "the budget of {} has no room for more"


@dataclass(frozen=True)
class Economy:
    """The prices of a descent.

    Args:
        selection: counts the cost, knows the problem's effort, and validates after every step.
        teaching: solves the truth of the pairs.
        parameters: of the family.
        residuals: of a sample.
        derivative: how the network is differentiated.
        precision: in which it computes.
    """

    selection: IterateSelection
    teaching: Teaching
    parameters: int
    residuals: int
    derivative: Derivative
    precision: torch.dtype

    @cached_property
    def allowance(self) -> Allowance:
        """What may still be spent."""
        selection = self.selection
        return selection.allowance or Allowance(None, selection.cost, selection.problem.source)

    @property
    def spent(self) -> str:
        """That nothing more fits, as the reason why a training has ended."""
        return BUDGET.format(self.allowance.budget)

    def worth(self, excess: float, leg: Leg) -> bool:
        """Whether parameters lose so much by having too few pairs, in nats, that a leg on more of them is worth its cost."""
        return excess >= self.least_excess(leg)

    def taken(self, excess: float, leg: Leg) -> bool:
        """Whether a leg is worth its cost, and the budget has room for its beginning."""
        return self.worth(excess, leg) and self.allowance.affords(self._beginning(leg))

    def least_excess(self, leg: Leg) -> float:
        """Return the nats that a leg has to promise: its own, or the price of its beginning."""
        if not self.selection.problem.effort.price:
            return leg.least_excess
        return self._least_gain(self._beginning(leg)) if leg.least_excess else 0.0

    def slow_gain(self, leg: Leg) -> float:
        """Return the nats below which a step on a leg is slow: the schedule's, or the step's price."""
        return self._least_gain(self._step_on(leg)) if self.selection.problem.effort.price else leg.schedule.slow_gain

    def leaving_gain(self, leg: Leg) -> float:
        """Return the nats below which a step is too little to stay on a leg where another one follows."""
        return max(self.slow_gain(leg), leg.schedule.leaving_gain)

    def be_patient(self, leg: Leg) -> None:
        """Let validation count a gain that is worth its price, however small it is."""
        if self.selection.problem.effort.price:
            self.selection.smallest_gain = min(self.selection.smallest_gain, self.slow_gain(leg))

    def affords_step(self, leg: Leg) -> bool:
        """Whether the budget has room for a step on a leg's pairs, with its validation."""
        return self.allowance.affords(self._step_on(leg))

    def affords_trials(self, evaluations: float) -> bool:
        """Whether a step may try further tables, of which the best is still to be validated."""
        return self.allowance.affords(evaluations + self._validation)

    def finer_fits(self, leg: Leg) -> bool:
        """Whether the budget has room for the pairs by the next finer teacher, and then for a beginning of the leg."""
        if self.allowance.budget is None:
            return True
        return self.allowance.affords(self.teaching.renewal() + self._beginning(leg) + self._validation)

    @property
    def _validation(self) -> int:
        return self.selection.nfe * len(self.selection.pairs)

    def _least_gain(self, evaluations: float) -> float:
        problem = self.selection.problem
        return problem.effort.least_gain(evaluations, problem.source.forwards_per_evaluation)

    def _beginning(self, leg: Leg) -> int:
        """Return what the pairs of a leg, its first look at them, and its first step cost."""
        look = self.selection.nfe * leg.pairs + self._validation
        return self.teaching.outlay("train", leg.pairs) + look + self._step_on(leg)

    def _step_on(self, leg: Leg) -> int:
        parameters = self.parameters if leg.free is None else len(leg.free)
        own = step(
            self.selection.nfe,
            parameters,
            leg.pairs,
            residuals=self.residuals,
            derivative=self.derivative,
            precision=self.precision,
        )
        return own + self._validation
