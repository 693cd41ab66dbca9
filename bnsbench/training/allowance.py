"""What a training has spent and may still spend, all its purposes together."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from bnsbench.process.ranks import team
from bnsbench.training.budget import Budget
from bnsbench.training.problem import Cost
from bnsbench.truth.source import Source


@dataclass
class Allowance:
    """A budget beside what has been spent of it.

    Args:
        budget: None for a training that may go on until it gains nothing more.
        cost: what the training has cost so far, to which others add.
        source: says how many forwards an evaluation is.
        below: what the lower rungs of its ladder have cost.
        earlier: seconds that were spent before: on lower rungs, and before an interruption.
        pace: seconds that an evaluation takes.
        began: the `time.perf_counter` at the training's start.
    """

    budget: Budget | None
    cost: Cost
    source: Source
    below: Cost = field(default_factory=Cost)
    earlier: float = 0.0
    pace: float = 0.0
    began: float = field(default_factory=time.perf_counter, repr=False)

    def __post_init__(self) -> None:
        if self.budget is not None and not self.pace:
            self.pace = self.budget.pace * self.source.forwards_per_evaluation

    @classmethod
    def after(cls, below: Mapping[str, Any] | None, budget: Budget | None, cost: Cost, source: Source) -> Allowance:
        """Return what is left for a rung of a ladder.

        Args:
            below: the training record of the rung below, None at the foot.
            budget: of this rung and all below it.
            cost: of this rung.
            source: what it is trained for.
        """
        if below is None:
            return cls(budget, cost, source)
        earlier = (below.get("budget") or {"spent": below})["spent"].get("seconds", 0.0)
        return cls(budget, cost, source, Cost.of(below, source), float(earlier))

    @property
    def forwards(self) -> int:
        """Forwards that have been spent, on lower rungs as well."""
        return sum(self.cost.with_lower(self.below).forwards(self.source).values())

    @property
    def seconds(self) -> float:
        """Seconds that have been spent, by the clock of the first process."""
        return team().of_first(lambda: self.earlier + time.perf_counter() - self.began)

    @property
    def left(self) -> float:
        """Evaluations of the field that may still be spent, inf without a budget."""
        if self.budget is None:
            return math.inf
        if self.budget.forwards is not None:
            return (self.budget.forwards - self.forwards) / self.source.forwards_per_evaluation
        return ((self.budget.seconds or 0.0) - self.seconds) / self.pace if self.pace else math.inf

    def expected(self, evaluations: int) -> int:
        """Return the forwards that a table comes to that would take so many evaluations without a budget."""
        return round(self.source.forwards_per_evaluation * min(evaluations, max(self.left, 0.0)))

    def affords(self, evaluations: float) -> bool:
        """Whether so many evaluations more stay within the budget."""
        return evaluations <= self.left

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Take the pace from what the training does in the block."""
        evaluations, began = self.cost.training, time.perf_counter()
        yield
        spent = self.cost.training - evaluations
        if spent > 0:
            self.pace = team().of_first(lambda: (time.perf_counter() - began) / spent)

    def resume(self, seconds: float) -> None:
        """Go on after an interruption, before which so many seconds had been spent."""
        self.earlier += max(0.0, seconds - self.earlier)

    def record(self) -> dict[str, Any] | None:
        """Return what a training record says of what was allowed and what was spent; None without a budget."""
        if self.budget is None:
            return None
        spent = {"forwards": self.forwards, "seconds": self.seconds}
        return {"forwards": self.budget.forwards, "seconds": self.budget.seconds, "spent": spent}
