"""What a trainer is given and what it hands back: pairs, other rungs of the ladder; progress, cost and the artefact."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path as FilePath
from typing import Any

from torch import Tensor

from bnsbench.contract.returned import kind_of, real, whole
from bnsbench.contract.specs import Scalar
from bnsbench.errors import BnsbenchError, printable
from bnsbench.nonstationary.artefact import SolverArtefact
from bnsbench.nonstationary.table import NonStationarySolver
from bnsbench.training.budget import Budget
from bnsbench.truth.pairs import TAUGHT_CHUNK, Pairs
from bnsbench.truth.source import Source

DECIBELS_PER_NAT = 4.343
"""10 / log 10: mean squared errors that are a nat apart are so many decibels apart."""
PRICED_FORWARDS = 10_000
"""Forwards that a price in decibels is for."""

Features = Callable[[Tensor], Tensor]
"""Differentiable features [n, k] of end states [n, *shape], such as a metric's extractor after the model's decoder."""


@dataclass(frozen=True)
class TrainingStatus:
    """Progress of a training run, reported after every iteration.

    stage: what is being done. iteration of total (an upper bound: training stops when it has converged).
    psnr: validation PSNR in dB of the best table so far. loss: of the objective on the validation pairs, in nats, now.
    damping: of the Gauss-Newton step, where there is one. forwards: network forwards spent so far, by all purposes.
    expected: forwards that the training comes to in all, about; 0 where nobody knows.
    """

    nfe: int
    stage: str
    iteration: int
    total: int
    psnr: float
    damping: float | None = None
    loss: float | None = None
    forwards: int = 0
    expected: int = 0

    def checked(self) -> TrainingStatus:
        """Return it with plain numbers; BnsbenchError for what is none."""
        told: dict[str, Any] = {"stage": printable(self.stage), "psnr": real(self.psnr, "the PSNR of its progress")}
        for name in ("nfe", "iteration", "total", "forwards", "expected"):
            told[name] = whole(getattr(self, name), f"the {name} of its progress")
        for name in ("damping", "loss"):
            value = getattr(self, name)
            told[name] = None if value is None else real(value, f"the {name} of its progress")
        return TrainingStatus(**told)


@dataclass(frozen=True)
class Classic:
    """A classic solver, ``sample(field, x0, nfe, grid=...)``, and the evaluations that it spends on a step of its grid.

    stages: 0 for a solver whose times cannot be chosen. grid: the one that it has by default.
    """

    sample: Callable[..., Tensor]
    stages: int = 1
    grid: str = "uniform"


@dataclass(frozen=True)
class Effort:
    """How many pairs a training takes, and how far it goes, where the user has not said so.

    Args:
        pairs: to train on at most.
        parts: how many pairs the legs before the last one are on.
        least_excess: nats that a table has to lose by having no more pairs for the next leg to be worth its cost.
        validation: pairs to validate on.
        enough: PSNR in dB on the validation pairs from which on a training ends; 90 dB are an error of 3e-5 of the data's
            range.
        race: rounds of the race between starts: pairs, steps on them, and how many starts are left; none without rounds.
        patience: iterations in a row after which a descent ends that have gained little on the training pairs, and one more
            if they have gained nothing on the validation pairs.
        followed: pairs on whose trajectories the rows of a start are regressed.
        searched: pairs on which grids to start from are searched; 0 where the known ones are taken as they are.
        starts: how many grids are started from.
        probed: whether the error of a truth is measured, so that a finer one takes over in time.
        judged: pairs on which the grid of a classic rule is chosen, or a start that a user names is made.
        together: samples whose truth is solved together, no less than which is solved.
        budget: what the training may spend, lower rungs included; None for all that gains.
        price: decibels that 10,000 forwards have to bring for the training to go on; 0 where its own measure decides.
    """

    pairs: int = 512
    parts: tuple[int, ...] = (32, 128, 256)
    least_excess: float = 0.04
    validation: int = 64
    enough: float = 90.0
    race: tuple[tuple[int, int, int], ...] = ((16, 1, 1),)
    patience: int = 2
    followed: int = 32
    searched: int = 16
    starts: int = 2
    probed: bool = True
    judged: int = 128
    together: int = TAUGHT_CHUNK
    budget: Budget | None = None
    price: float = 0.0

    def least_gain(self, evaluations: float, forwards_each: int) -> float:
        """Return the nats of the loss that so many evaluations, of so many forwards each, have to bring by the price."""
        return self.price * evaluations * forwards_each / PRICED_FORWARDS / DECIBELS_PER_NAT


FEW_DIMENSIONS = 32
"""In so few dimensions evaluations cost little, descents from different starts end differently, and the errors of samples
differ so widely that a mean over them takes many."""
FEW = Effort(
    pairs=2048,
    parts=(256, 1024),
    least_excess=5e-3,
    validation=512,
    race=((128, 1, 5), (256, 10, 3), (512, 20, 2), (1024, 20, 1)),
    searched=0,
    starts=3,
    patience=6,
)
"""The effort there."""


def effort_in(shape: Sequence[int]) -> Effort:
    """Return the effort for samples of that shape."""
    return FEW if math.prod(shape) <= FEW_DIMENSIONS else Effort()


@dataclass(frozen=True)
class Problem:
    """A field to train a solver for.

    Args:
        source: noise and ground truth of the model under its guidance, or under several scales at once.
        previous: returns the same solver trained at another NFE, through the caller's cache; None starts each NFE anew.
        progress: called with a `TrainingStatus` after every iteration.
        classic: returns the classic solver of a selector; None knows the built-in ones.
        features: differentiable features of end states, for perceptual objectives; None if the model has no extractor.
        checkpoint: where a training saves its state after every iteration and looks for it; None saves nothing.
        effort: how many pairs a training takes and how far it goes.
        variant: returns the same solver with other options, trained for an NFE through the caller's cache; None where the
            caller keeps nothing.
        notice: called with a sentence that the user should read.
        expected: forwards that the training comes to in all, about; 0 where nobody knows.
        shown: features of end states as metrics see their samples, pictures within their range; None if the model has no
            extractor.
    """

    source: Source
    previous: Callable[[int], SolverArtefact] | None = None
    progress: Callable[[TrainingStatus], None] | None = None
    classic: Callable[[str], Classic] | None = None
    features: Features | None = None
    checkpoint: FilePath | None = None
    effort: Effort = Effort()
    variant: Callable[[int, Mapping[str, Scalar]], SolverArtefact] | None = None
    notice: Callable[[str], None] | None = None
    expected: int = 0
    shown: Features | None = None

    def note(self, text: str) -> None:
        """Pass a sentence on that the user should read, if anybody listens."""
        if self.notice is not None:
            self.notice(text)

    def report(self, status: TrainingStatus) -> None:
        """Pass the status on, if anybody listens."""
        if not isinstance(status, TrainingStatus):
            raise BnsbenchError(f"it reported {kind_of(status)} as its progress instead of a TrainingStatus")
        if self.progress is not None:
            self.progress(status)

    def artefact(self, name: str, table: NonStationarySolver, record: Mapping[str, Any], began: float) -> SolverArtefact:
        """Return the trained table with its origin.

        Args:
            name: the solver selector that made it, such as "bns".
            table: the table, which is checked here.
            record: what was done, JSON-like; seed and seconds are added.
            began: the `time.perf_counter` at the training's start.
        """
        source = self.source
        return SolverArtefact(
            solver=table.validated(),
            path=source.model.path,
            interval=source.model.interval,
            model=source.name,
            fingerprint=source.model.fingerprint(),
            guidance=source.guidance,
            name=name,
            training={"seed": source.seed, **record, "seconds": time.perf_counter() - began},
        )


@dataclass
class Cost:
    """Field evaluations times samples, by purpose; a backward pass through one evaluation counts as two.

    training: everything that shapes the table. validation: choosing the iterate. truths: those of each ground truth that was
    solved, by what it is; one that several rungs of a ladder share is counted once. features: samples that a perceptual
    objective's extractor has seen, a backward pass through it counting as two.
    """

    training: int = 0
    validation: int = 0
    truths: dict[str, int] = field(default_factory=dict)
    features: int = 0

    @property
    def teacher(self) -> int:
        """Evaluations of all ground truth."""
        return sum(self.truths.values())

    def truth(self, name: str, pairs: Pairs) -> None:
        """Count the truth of pairs; of two sets of one name one is a part of the other."""
        self.truths[name] = max(self.truths.get(name, 0), pairs.truth_evaluations)

    def to_dict(self) -> dict[str, Any]:
        """Return the counts, JSON-like."""
        return asdict(self)

    def restore(self, counts: Mapping[str, Any]) -> None:
        """Take over the counts that `to_dict` gave."""
        for name, value in counts.items():
            setattr(self, name, dict(value) if name == "truths" else value)

    def add(self, other: Cost) -> None:
        """Count what another search or training has cost as well."""
        self.restore(self.with_lower(other).to_dict())

    @classmethod
    def of(cls, record: Mapping[str, Any], source: Source) -> Cost:
        """Return what a training record says that it has cost: its evaluations, or if it lacks them its forwards."""
        if "spent" in record:
            return cls(**record["spent"])
        forwards = record.get("forwards", {})
        each = {
            kind: forwards.get(kind, 0) // source.forwards_per_evaluation for kind in ("training", "validation", "teacher")
        }
        return cls(each["training"], each["validation"], {"of a record": each["teacher"]}, forwards.get("features", 0))

    def with_lower(self, below: Cost) -> Cost:
        """Return what this rung and the one below have cost together, a truth that both have used once."""
        truths = {name: max(self.truths.get(name, 0), below.truths.get(name, 0)) for name in {**below.truths, **self.truths}}
        counts = (self.training + below.training, self.validation + below.validation)
        return Cost(*counts, truths, self.features + below.features)

    def forwards(self, source: Source) -> dict[str, int]:
        """Return the counts as forwards of the network, and of the extractor where there is one."""
        own = {"teacher": self.teacher, "training": self.training, "validation": self.validation}
        found = {kind: source.forwards_per_evaluation * count for kind, count in own.items()}
        return {**found, "features": self.features} if self.features else found

    def record(self, source: Source) -> dict[str, Any]:
        """Return the entries of a training record that say what it has cost."""
        return {"forwards": self.forwards(source), "spent": self.to_dict()}


@dataclass
class ValidationCurve:
    """The validation PSNR in dB after so many training evaluations, one point per check."""

    points: list[dict[str, Any]] = field(default_factory=list)

    def add(self, cost: Cost, psnr: float, **more: Any) -> None:
        """Append a point; what is known besides, such as the forwards of all purposes, is kept with it."""
        self.points.append({"evaluations": cost.training, "psnr": round(psnr, 4), **more})
