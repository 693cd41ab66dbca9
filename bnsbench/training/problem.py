"""What a trainer is given and what it reports: the model's pairs, other rungs of the ladder, progress and cost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

from torch import Tensor

from bnsbench.flows.mixed import Source
from bnsbench.training.objectives import Features

if TYPE_CHECKING:
    from bnsbench.nonstationary.artefact import SolverArtefact


@dataclass(frozen=True)
class TrainingStatus:
    """Progress of a training run, reported after every iteration.

    stage: what is being done. iteration of total (an upper bound: training stops when it has converged).
    psnr: validation PSNR in dB of the best table so far. loss: of the objective on the validation pairs, in nats, now.
    damping: of the Gauss-Newton step, where there is one. forwards: network forwards spent so far, by all purposes.
    """

    nfe: int
    stage: str
    iteration: int
    total: int
    psnr: float
    damping: float | None = None
    loss: float | None = None
    forwards: int = 0


@dataclass(frozen=True)
class Classic:
    """A classic solver, ``sample(field, x0, nfe, grid=...)``, and the evaluations that it spends on a step of its grid.

    stages: 0 for a solver whose times cannot be chosen.
    """

    sample: Callable[..., Tensor]
    stages: int = 1


@dataclass(frozen=True)
class Problem:
    """A field to train a solver for.

    source: noise and ground truth of the model under its guidance, or under several scales at once.
    previous: returns the same solver trained at another NFE, through the caller's cache; None starts each NFE anew.
    progress: called with a `TrainingStatus` after every iteration.
    classic: returns the classic solver of a selector; None knows the built-in ones.
    features: differentiable features of end states, for perceptual objectives; None if the model has no extractor.
    checkpoint: where a training saves its state after every iteration and looks for it; None saves nothing.
    """

    source: Source
    previous: Callable[[int], SolverArtefact] | None = None
    progress: Callable[[TrainingStatus], None] | None = None
    classic: Callable[[str], Classic] | None = None
    features: Features | None = None
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

    def forwards(self, source: Source) -> dict[str, int]:
        """Return the counts as network forwards."""
        return {kind: source.forwards_per_evaluation * count for kind, count in self.to_dict().items()}


@dataclass
class Curve:
    """The validation PSNR in dB after so many training evaluations, one point per check."""

    points: list[dict[str, Any]] = field(default_factory=list)

    def add(self, cost: Cost, psnr: float, **more: Any) -> None:
        """Append a point."""
        self.points.append({"evaluations": cost.training, "psnr": round(psnr, 4), **more})
