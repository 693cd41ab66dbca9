"""How a truth is solved; that of a training need not be finer than what it teaches."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from torch import Tensor

from bnsbench.flows.fields import BatchField
from bnsbench.truth.ground_truth import Solution, Trajectory, solve_each

WAY_POINTS = 65
"""Times at which the adaptive rule stops on its way."""


class Teacher(Protocol):
    """A rule that solves a field for a batch.

    name: Everything that decides its result beside field and batch, for the names of cached files.
    """

    @property
    def name(self) -> str: ...

    def ends(self, field: BatchField, x0: Tensor) -> Solution:
        """Return the solution from x0 [batch, ...], whose last states are the ends."""

    def way(self, field: BatchField, x0: Tensor) -> tuple[Solution, Trajectory]:
        """Return it with the way between; all evaluations are in the solution's NFE."""


@dataclass(frozen=True)
class Adaptive:
    """The adaptive rule.

    Args:
        tolerance: Relative and absolute.
        canonical: Whether it solves the field as seen on the canonical path (see `solve_each`).
    """

    tolerance: float
    canonical: bool = False

    @property
    def name(self) -> str:
        return f"adaptive to {self.tolerance!r}{' on the canonical path' if self.canonical else ''}"

    def ends(self, field: BatchField, x0: Tensor) -> Solution:
        """Return the states at both ends."""
        return solve_each(field, x0, self.tolerance, canonical=self.canonical)

    def way(self, field: BatchField, x0: Tensor) -> tuple[Solution, Trajectory]:
        """Return the states at WAY_POINTS times and beside jumps, where the velocities cost an evaluation each."""
        found = solve_each(field, x0, self.tolerance, WAY_POINTS, self.canonical)
        return replace(found, nfe=found.nfe + len(found.times)), found.trajectory(field)
