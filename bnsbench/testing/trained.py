"""Checks of solvers that are trained, on an exact model that is quick to train for."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from bnsbench.contract.specs import Scalar
from bnsbench.flows.paths import CondOT
from bnsbench.nonstationary.artefact import SolverArtefact
from bnsbench.testing.problems import image_model
from bnsbench.testing.randomness import global_randomness, repeatable
from bnsbench.testing.report import Check, Verdict, failed, passed
from bnsbench.testing.subjects import SolverSubject
from bnsbench.training.problem import TrainingStatus
from bnsbench.training.trainer import make_problem, with_options
from bnsbench.truth.pairs import PairSource

SMALL_NFE = 4
GUIDANCE = 1.0
NAME = "conformance"


class TrainedSubject(SolverSubject):
    """A trained solver under test; its trainings are kept."""

    @property
    def nfe(self) -> int:
        return self.budget_from(SMALL_NFE)

    @cached_property
    def source(self) -> PairSource:
        """Noise and ground truth of the model that it is trained for."""
        return PairSource(image_model(CondOT(), (0.0, 1.0)), NAME, GUIDANCE, tolerance=1e-4)

    @cached_property
    def found(self) -> SolverArtefact:
        """The artefact of the first training."""
        return self.train(self.nfe)

    def train(self, nfe: int, options: Mapping[str, Scalar] | None = None) -> SolverArtefact:
        """Train as the benchmark does, from nothing; ``options`` are other than the solver's own."""
        with tempfile.TemporaryDirectory() as folder:
            problem = make_problem(
                self.source,
                self.host,
                previous=self.train,
                progress=_ignore,
                checkpoint=Path(folder) / "training.pt",
                provider=self.spec.provider,
                variant=self.train,
            )
            artefact: SolverArtefact = with_options(self.selection, options or {}).make()(problem, nfe)
        return artefact


def runs(subject: TrainedSubject) -> Verdict:
    """Check that training returns an artefact."""
    found: object = subject.found
    if isinstance(found, SolverArtefact):
        return passed()
    return failed(f"Training returns a {type(found).__name__}.", "Return a bnsbench.nonstationary.artefact.SolverArtefact.")


def budget(subject: TrainedSubject) -> Verdict:
    """Check that the trained table spends what was asked for."""
    asked, found = subject.nfe, subject.found.solver.nfe
    if asked == found:
        return passed(f"It trains a table of {found} evaluations for NFE {asked}.")
    return failed(f"Asked for {asked} evaluations, it trains a table of {found}.", "Train a table with nfe rows.")


def origin(subject: TrainedSubject) -> Verdict:
    """Check that the artefact says for which model, path and guidance it was made."""
    found, model = subject.found, subject.source.model
    facts = {
        "model": (found.model, NAME),
        "fingerprint": (found.fingerprint, model.fingerprint()),
        "path": (found.path.to_dict(), model.path.to_dict()),
        "interval": (tuple(found.interval), model.interval),
        "guidance": (found.guidance, GUIDANCE),
    }
    wrong = [(name, said, true) for name, (said, true) in facts.items() if said != true]
    if not wrong:
        return passed()
    name, said, true = wrong[0]
    return failed(f"Its artefact says {name} {said!r}, which is {true!r}.", "Fill it in from problem.source and its model.")


def finite(subject: TrainedSubject) -> Verdict:
    """Check that the trained table samples finite states on noise that it was not trained on."""
    source, indices = subject.source, torch.arange(16)
    x1 = subject.found.solver(source.field(indices), source.initial("test", indices))
    if bool(x1.isfinite().all()):
        return passed()
    return failed("The states of its table are not finite.", "Reject tables that diverge on validation noise.")


def deterministic(subject: TrainedSubject) -> Verdict:
    """Check that two trainings give the same table."""
    return repeatable(lambda: _numbers(subject.train(subject.nfe)))


def random_state(subject: TrainedSubject) -> Verdict:
    """Check that training neither moves nor needs the global random states."""
    return global_randomness(lambda: lambda: _numbers(subject.train(subject.nfe)))


def file(subject: TrainedSubject) -> Verdict:
    """Check that the artefact is the same after it has been saved and loaded."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "solver.json"
        subject.found.save(place)
        loaded = SolverArtefact.load(place)
    if loaded.to_dict() == subject.found.to_dict():
        return passed()
    return failed("Saved and loaded, its artefact is another.", "Keep to plain data in its training record.")


TRAINED_CHECKS: Mapping[str, Check[TrainedSubject]] = {
    "runs": runs,
    "budget": budget,
    "origin": origin,
    "finite": finite,
    "deterministic": deterministic,
    "random state": random_state,
    "file": file,
}


def _ignore(status: TrainingStatus) -> None:
    """Ignore the progress of a training."""


def _numbers(artefact: SolverArtefact) -> list[Tensor]:
    table = artefact.solver
    return [table.times, table.rows]
