"""Trained solvers of a results folder: found by key, or trained once even when several workers want them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bnsbench.contract import PluginHost, Selection
from bnsbench.contract.specs import Scalar, SolverSpec
from bnsbench.errors import CorruptFileError
from bnsbench.flows.guidance import guidance_in_words
from bnsbench.models.shipped import shipped_solver
from bnsbench.nonstationary.artefact import SolverArtefact
from bnsbench.nonstationary.scope import Scope, differences
from bnsbench.process import clock
from bnsbench.storage.files import make_way, name_of
from bnsbench.storage.locks import alone
from bnsbench.storage.plain_data import digest
from bnsbench.suite.plan import Cell, Component
from bnsbench.suite.store import ResultStore, storage_errors
from bnsbench.training.listener import Listener
from bnsbench.training.trainer import make_problem, train_solver, with_options
from bnsbench.truth.pairs import PairSource


def solver_key(cell: Cell) -> str:
    """Return the key of the solver that a cell needs trained; it does not depend on how many samples are tested."""
    content = {**cell.field_content, "solver": cell.solver.content, "nfe": cell.nfe}
    slug = f"{cell.model.name}_w{cell.guidance:g}_{cell.solver.name}_nfe{cell.nfe}_seed{cell.seed}"
    return f"{name_of(slug)}-{digest(content)}"


def mismatch(artefact: SolverArtefact, cell: Mapping[str, Any]) -> str:
    """Return in what an artefact does not fit a cell's content, as words; "" if it fits.

    Compared are name, guidance and NFE, and, as far as the training's record tells them, the version of the solver and the
    seed of the noise, which does not matter where the package brought the solver.
    """
    solver, training = cell["solver"], artefact.training
    if artefact.name not in (solver["name"], f"{solver['provider']}/{solver['name']}"):
        return f"the solver {artefact.name} in place of {solver['name']}"
    if artefact.guidance != cell["guidance"]:
        return f"guidance {guidance_in_words(artefact.guidance)} in place of {cell['guidance']:g}"
    if artefact.solver.nfe != cell["nfe"]:
        return f"{artefact.solver.nfe} evaluations in place of {cell['nfe']}"
    if training.get("version", solver["version"]) != solver["version"]:
        return f"version {training['version']} of {solver['name']} in place of {solver['version']}"
    if training.get("seed", cell["seed"]) != cell["seed"] and not training.get("shipped"):
        return f"the seed {training['seed']} in place of {cell['seed']}"
    return ""


def _save(artefact: SolverArtefact, file: Path) -> None:
    with storage_errors(file):
        make_way(file)
        artefact.save(file)


@dataclass(frozen=True)
class TrainedSolvers:
    """The trained solvers for one field.

    locks: a folder for lock files.
    host: knows the classic solvers that learned ones start from.
    listener: hears of the progress of trainings, and of solver files that cannot be used and are trained again.
    train: whether a missing solver may be trained; if not, CorruptFileError is raised.
    retrain: whether to train even where the package ships a solver.
    check: called before a trained solver is kept; it raises if the training has written into what it may only read.
    """

    store: ResultStore
    source: PairSource
    locks: Path
    host: PluginHost
    listener: Listener = field(default_factory=Listener)
    train: bool = True
    retrain: bool = False
    check: Callable[[], None] | None = None

    def get(self, cell: Cell, solver: Selection[SolverSpec]) -> SolverArtefact:
        """Return the solver that ``cell`` needs, training it if it is not there."""
        file = self.store.solver_file(solver_key(cell))
        found = self._find(file, cell)
        if found is not None:
            return found
        if not self.train:
            raise CorruptFileError(f"The trained solver {file} is missing or damaged, or was made for something else.")
        with self._lock(file):
            found = self._find(file, cell) or self._take(cell, file)
            if found is not None:
                return found
            with clock.phase("training"):
                return self._train(cell, solver, file)

    def _take(self, cell: Cell, file: Path) -> SolverArtefact | None:
        """Return the solver that the package ships, now among the results, or None if there is none or it is not wanted."""
        if self.retrain:
            return None
        shipped = shipped_solver(
            cell.model.shown, self.source.model, cell.guidance, cell.solver.shown, cell.nfe, cell.solver.version
        )
        if shipped is not None and self._mismatch(shipped, cell):
            return None
        if shipped is None:
            return None
        model = self.source.model
        if other := differences(shipped.scope, Scope.of(model, self.source.name, self.source.guidance)):
            self.listener.notice(f"{cell.label}: {other}")
        _save(shipped, file)
        return shipped

    def _train(self, cell: Cell, solver: Selection[SolverSpec], file: Path) -> SolverArtefact:
        self.listener.stage(f"training {cell.solver.shown}")

        def variant(nfe: int, options: Mapping[str, Scalar]) -> SolverArtefact:
            other = with_options(solver, options)
            return self.get(replace(cell, nfe=nfe, solver=Component.of(other)), other)

        problem = make_problem(
            self.source,
            self.host,
            previous=lambda nfe: self.get(replace(cell, nfe=nfe), solver),
            progress=self.listener.training,
            checkpoint=self.locks.parent / "training" / f"{file.stem}.pt",
            provider=solver.spec.provider,
            notice=self.listener.notice,
            variant=variant,
        )
        artefact = train_solver(solver, problem, cell.nfe)
        artefact = replace(artefact, training={"version": cell.solver.version, **artefact.training})
        if self.check is not None:
            self.check()
        _save(artefact, file)
        return artefact

    def _find(self, file: Path, cell: Cell) -> SolverArtefact | None:
        """Return the artefact in the file, or None if it is absent, damaged or made for something else."""
        if not file.exists():
            return None
        try:
            if not file.is_file():
                raise CorruptFileError(f"The solver file {file} is damaged: it is no file.")
            artefact = SolverArtefact.load(file)
        except CorruptFileError as error:
            self.listener.notice(str(error))
            return None
        other = self._mismatch(artefact, cell)
        if other:
            self.listener.notice(f"The solver file {file} was made for {other}.")
            return None
        return None if self.retrain and artefact.training.get("shipped") else artefact

    def _mismatch(self, artefact: SolverArtefact, cell: Cell) -> str:
        """Return what an artefact was made for in place of the cell and its model, "" if for them."""
        model = self.source.model
        if artefact.fingerprint != model.fingerprint():
            return f"another version of {artefact.model}"
        if artefact.path != model.path or tuple(artefact.interval) != tuple(model.interval):
            return f"the path {artefact.path.name} on {list(artefact.interval)}"
        return mismatch(artefact, cell.content)

    @contextmanager
    def _lock(self, file: Path) -> Iterator[None]:
        """Let one process at a time make the solver of a file."""
        name = hashlib.sha256(str(file.resolve()).encode()).hexdigest()[:32]
        with ExitStack() as held:
            with clock.phase("waiting"):
                held.enter_context(alone(self.locks / f"{name}.lock", self.locks))
            yield
