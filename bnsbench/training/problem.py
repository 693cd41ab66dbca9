"""What a trainer is given and what it reports: the model's pairs, other rungs of the ladder, progress and cost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

from torch import Tensor

from bnsbench.flows.pairs import PairSource

if TYPE_CHECKING:
    from bnsbench.nonstationary.artefact import SolverArtefact


@dataclass(frozen=True)
class TrainingStatus:
    """Progress of a training run, reported after every iteration.

    stage: what is being done. iteration of total (an upper bound: training stops when it has converged).
    psnr: validation PSNR in dB of the best table so far. damping: of the Gauss-Newton step, where there is one.
    """

    nfe: int
    stage: str
    iteration: int
    total: int
    psnr: float
    damping: float | None = None


@dataclass(frozen=True)
class Problem:
    """A field to train a solver for.

    source: noise and ground truth of the model under its guidance.
    previous: returns the same solver trained at another NFE, through the caller's cache; None trains it anew.
    progress: called with a `TrainingStatus` after every iteration.
    solver: returns the classic solver of a selector as ``solver(field, x0, nfe, grid=...)``; None knows the built-in ones.
    checkpoint: where long trainings save their state and look for it; None saves nothing.
    """

    source: PairSource
    previous: Callable[[int], SolverArtefact] | None = None
    progress: Callable[[TrainingStatus], None] | None = None
    solver: Callable[[str], Callable[..., Tensor]] | None = None
    checkpoint: FilePath | None = None

    def report(self, status: TrainingStatus) -> None:
        """Pass the status on, if anybody listens."""
        if self.progress is not None:
            self.progress(status)


@dataclass
class Cost:
    """Field evaluations times samples, by purpose; a backward pass through one evaluation counts as two.

    teacher: ground truth. training: everything that shapes the table. validation: choosing the iterate.
    """

    teacher: int = 0
    training: int = 0
    validation: int = 0

    def to_dict(self) -> dict[str, int]:
        """Return the counts, JSON-like."""
        return {"teacher": self.teacher, "training": self.training, "validation": self.validation}

    def restore(self, counts: dict[str, int]) -> None:
        """Take over the counts that `to_dict` gave."""
        self.teacher, self.training, self.validation = counts["teacher"], counts["training"], counts["validation"]


@dataclass
class Curve:
    """The validation PSNR in dB after so many training evaluations, one point per check."""

    points: list[dict[str, Any]] = field(default_factory=list)

    def add(self, cost: Cost, psnr: float, **more: Any) -> None:
        """Append a point."""
        self.points.append({"evaluations": cost.training, "psnr": round(psnr, 4), **more})
