"""Trained solvers of a results folder: found by key, or trained once even when several workers want them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from filelock import FileLock
from torch import Tensor

from bnsbench.errors import BnsbenchError, CorruptFileError
from bnsbench.flows.pairs import PairSource
from bnsbench.nonstationary.artefact import SolverArtefact
from bnsbench.plugins import Selection
from bnsbench.specs import SolverSpec
from bnsbench.suite.plan import Cell, digest, readable
from bnsbench.suite.store import ResultStore, storage_errors
from bnsbench.training.problem import Problem, TrainingStatus


def solver_key(cell: Cell) -> str:
    """Return the key of the solver that a cell needs trained; it does not depend on how many samples are tested."""
    content = {**cell.field_content, "solver": asdict(cell.solver), "nfe": cell.nfe}
    slug = f"{cell.model.name}_w{cell.guidance:g}_{cell.solver.name}_nfe{cell.nfe}_seed{cell.seed}"
    return f"{readable(slug)}-{digest(content)}"


@dataclass(frozen=True)
class TrainedSolvers:
    """The trained solvers for one field.

    locks: a folder for lock files. train: whether a missing solver may be trained; if not, CorruptFileError is raised.
    classic: returns the classic solver of a selector, for learned ones that start from it.
    notice: told of solver files that cannot be used and are trained again.
    """

    store: ResultStore
    source: PairSource
    locks: Path
    notice: Callable[[str], None]
    progress: Callable[[TrainingStatus], None]
    classic: Callable[[str], Callable[..., Tensor]]
    train: bool = True

    def get(self, cell: Cell, solver: Selection[SolverSpec]) -> SolverArtefact:
        """Return the solver that ``cell`` needs, training it if it is not there."""
        file = self.store.solver_file(solver_key(cell))
        found = self._find(file)
        if found is not None:
            return found
        if not self.train:
            raise CorruptFileError(f"The trained solver {file} is missing or damaged.")
        with self._lock(file):
            return self._find(file) or self._train(cell, solver, file)

    def _train(self, cell: Cell, solver: Selection[SolverSpec], file: Path) -> SolverArtefact:
        problem = Problem(
            self.source,
            previous=lambda nfe: self.get(replace(cell, nfe=nfe), solver),
            progress=self.progress,
            solver=self.classic,
            checkpoint=self.locks.parent / "training" / f"{file.stem}.pt",
        )
        artefact: SolverArtefact = solver.make()(problem, cell.nfe)
        if artefact.solver.nfe != cell.nfe:
            raise BnsbenchError(f"{cell.solver.name} trained for {artefact.solver.nfe} evaluations instead of {cell.nfe}")
        with storage_errors(file):
            artefact.save(file)
        return artefact

    def _find(self, file: Path) -> SolverArtefact | None:
        """Return the artefact in the file, or None if it is absent, damaged or made for another model."""
        if not file.exists():
            return None
        try:
            artefact = SolverArtefact.load(file)
        except CorruptFileError as error:
            self.notice(str(error))
            return None
        if artefact.fingerprint != self.source.model.fingerprint():
            self.notice(f"The solver file {file} was made for another version of {artefact.model}.")
            return None
        return artefact

    def _lock(self, file: Path) -> FileLock:
        self.locks.mkdir(parents=True, exist_ok=True)
        name = hashlib.sha256(str(file.resolve()).encode()).hexdigest()[:32]
        return FileLock(self.locks / f"{name}.lock")
