"""Models and solvers as users pass them, a name, a file or an object, made ready to run."""

from __future__ import annotations

import logging
import operator
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path as FilePath
from typing import Any

import torch

from bnsbench._text import quoted
from bnsbench.api.wrapped import WrappedModel
from bnsbench.contract import PluginHost, Selection, told_local
from bnsbench.contract.programs import digests_of
from bnsbench.contract.specs import SolverSpec
from bnsbench.errors import UsageError
from bnsbench.flows.model import Model, ModelField
from bnsbench.flows.paths import CondOT, Path
from bnsbench.flows.precision import dtype_named
from bnsbench.models.shipped import shipped_solver
from bnsbench.nonstationary.artefact import SolverArtefact
from bnsbench.nonstationary.scope import Scope
from bnsbench.nonstationary.table import NonStationarySolver
from bnsbench.process.machine import cache_folder, choose_device
from bnsbench.solvers.samplers import Sampler, sampler_of
from bnsbench.solvers.students import Student, student_of
from bnsbench.storage import names

_log = logging.getLogger(__name__)

AnySolver = str | FilePath | SolverArtefact | NonStationarySolver
"""A solver's selector, the file of a trained one, its content, or a table."""

MOST = 10**9
"""The largest number of samples or the like."""

TABLE = "table"
"""The name of a table that says nothing else."""


def open_host(
    plugins: Sequence[FilePath | str] | FilePath | str = (),
    folder: FilePath | None = None,
    allow_programs: Sequence[FilePath | str] | FilePath | str = (),
) -> PluginHost:
    """Return the host with all plugins, warning of those that could not be loaded; the log says which local one is loaded.

    Args:
        plugins: Single plugin files, one or several.
        folder: Where a ``bnsbench_local.py`` may lie; the current folder if None.
        allow_programs: Exported networks that metrics may run, one or several.
    """
    files, programs = ([each] if isinstance(each, FilePath | str) else each for each in (plugins, allow_programs))
    place = folder or FilePath()
    if told := told_local(place):
        _log.warning(told)
    host = PluginHost.load([FilePath(file) for file in files], place, digests_of(programs))
    for problem in host.problems:
        warnings.warn(str(problem), stacklevel=3)
    return host


def whole(name: str, value: Any) -> int:
    """Return a number of Python, NumPy or torch as a whole number; UsageError if it is none of at least 1."""
    try:
        found = operator.index(value)
    except TypeError as error:
        raise UsageError(f"{name} takes a whole number, not {value!r}.") from error
    shown = quoted(found).strip("'")  # which has been cut if it is of thousands of digits
    if found < 1:
        raise UsageError(f"{name} takes a whole number of at least 1, not {shown}.")
    if found > MOST:
        raise UsageError(f"{name} takes a whole number of at most {MOST:,}, not {shown}.")
    return found


def several(values: Any) -> Sequence[Any]:
    """Return one value or several, those of NumPy and torch as well, as a sequence."""
    plain = values.tolist() if hasattr(values, "tolist") else values
    return plain if isinstance(plain, Sequence) and not isinstance(plain, str) else [plain]


def scales_of(guidance: Any) -> list[float]:
    """Return a guidance scale, or several, as numbers; UsageError for what is none."""
    try:
        return [float(w) + 0.0 for w in several(guidance)]  # -0 is 0
    except (TypeError, ValueError) as error:
        raise UsageError(f"guidance takes numbers, not {guidance!r}.") from error


def scale_of(guidance: Any) -> float:
    """Return a guidance scale as a number; UsageError for several."""
    scales = scales_of(guidance)
    if len(scales) != 1:
        raise UsageError(f"guidance takes one scale here, not {guidance!r}.")
    return scales[0]


@dataclass(frozen=True)
class NamedModel:
    """A model on its device.

    name: of its noise streams and in files. modality: what it generates. selector: by which it was chosen,
    under which the package may ship solvers for it; "" for a user's own.
    """

    model: Model
    name: str
    device: str
    modality: str = "image"
    selector: str = ""

    @property
    def setting(self) -> Setting:
        return Setting(self.model.path, self.model.interval)

    def scope(self, guidance: float | Sequence[float] = ()) -> Scope:
        """Return where a table is used that samples the model, a known model's weights included."""
        found = Scope.of(self.model, self.name, guidance)
        return replace(found, fingerprint="") if self._passing else found

    @property
    def _passing(self) -> bool:
        return isinstance(self.model, WrappedModel) and self.model.passing

    def cache(self, folder: FilePath | None) -> FilePath:
        """Return where what is computed for the model is kept: this folder, or the one that BNSBENCH_CACHE names.

        A model that cannot be recognised at the next call, because nothing says what decides its velocity, gets a folder
        of this process, whatever was asked for.
        """
        return FilePath(_passing_folder().name) if self._passing else folder or cache_folder()


@cache
def _passing_folder() -> tempfile.TemporaryDirectory[str]:
    """Return a folder that is removed when the process ends."""
    return tempfile.TemporaryDirectory(prefix="bnsbench-")


def named_model(
    host: PluginHost, model: str | Model, device: str = "auto", dtype: str | torch.dtype | None = None
) -> NamedModel:
    """Return the model on the device, in that precision or its own.

    Args:
        host: Knows the models that have names.
        model: A selector such as "digits-ot", or a model; it is moved to the device.
        device: "cpu", "cuda" or "cuda:<i>"; "auto" is where a user's own network lies, else a GPU if there is one.
        dtype: "float32", "float64" or "bfloat16", or a type of torch; None for the model's own.

    Raises:
        UsageError: If there is no such model, device or precision.
    """
    if isinstance(model, str):
        selection, place = host.model(model), choose_device(device)
        made: Model = selection.make()
        made = made.to(place, dtype_named(dtype, made.dtype))
        return NamedModel(made, selection.canonical, place, made.modality(selection.spec.modality), selection.name)
    known = model.device if isinstance(model, WrappedModel) and device == "auto" else ""
    place = known or choose_device(device)
    return NamedModel(model.to(place, dtype_named(dtype, model.dtype)), _name_of(model), place, model.modality("points"))


def still_model(host: PluginHost, model: str | Model) -> NamedModel:
    """Return a model whose path, interval and name are looked at, and which is not moved."""
    if isinstance(model, str):
        selection = host.model(model)
        return NamedModel(selection.make(), selection.canonical, "cpu", selection.spec.modality, selection.name)
    return NamedModel(model, _name_of(model), "cpu", "points")


def _name_of(model: Model) -> str:
    return model.name if isinstance(model, WrappedModel) else type(model).__name__.lower()


@dataclass(frozen=True)
class Setting:
    """Where a solver is looked at: the path and interval of a model, CondOT on [0, 1] without one."""

    path: Path = field(default_factory=CondOT)
    interval: tuple[float, float] = (0.0, 1.0)


@dataclass(frozen=True)
class FoundSolver:
    """A solver that runs: by its table, or directly if it has none; ``artefact`` is the file's content if it is a file.

    student: the network that it evaluates in place of the model's, if it is a distilled one.
    """

    name: str
    nfe: int
    setting: Setting
    sampler: Sampler
    table: NonStationarySolver | None = None
    artefact: SolverArtefact | None = None
    student: Student | None = None

    def field(self, model: ModelField) -> ModelField:
        """Return the field that it evaluates for a field of the model."""
        return model if self.student is None else self.student.field(model)

    def require_table(self) -> NonStationarySolver:
        """Return the table; UsageError for a solver that runs directly."""
        if self.table is None:
            raise UsageError(f"The solver {self.name!r} runs directly, so it has no table.")
        return self.table


def find_solver(
    host: PluginHost,
    solver: AnySolver,
    nfe: int | None,
    setting: Setting,
    model: NamedModel | None = None,
    guidance: float = 0.0,
) -> FoundSolver:
    """Return the solver that a user means.

    Args:
        host: Knows the solvers that have names.
        solver: A selector, the file of a trained solver, its content, or a table.
        nfe: The evaluations that it may spend; None for those of a file or table.
        setting: Path and interval for which classics are traced.
        model: For which the package may ship the solver, or which has a student; None if it does not matter.
        guidance: The scale for which it may.

    Raises:
        UsageError: For a solver that needs an NFE and gets none, cannot spend it, or has to be trained first.
    """
    if isinstance(solver, NonStationarySolver):
        _require_nfe("The table", solver.nfe, nfe)
        return FoundSolver(TABLE, solver.nfe, setting, solver, solver)
    if isinstance(solver, SolverArtefact):
        _require_nfe(f"The solver {solver.name!r}", solver.solver.nfe, nfe)
        return _of_artefact(solver)
    if is_file(solver):
        artefact = SolverArtefact.load(solver)
        _require_nfe(f"The solver in {solver}", artefact.solver.nfe, nfe)
        return _of_artefact(artefact)
    selection = host.solver(str(solver))
    if nfe is None:
        raise UsageError(f"The solver {selection.name!r} needs a budget: add --nfe, or nfe in Python.")
    check_budget(selection, nfe)
    if selection.spec.trained:
        shipped = shipped_for(selection, nfe, model, guidance)
        if shipped is None:
            raise UsageError(f"{selection.name!r} {_way_to_get(selection, nfe)}.")
        return _of_artefact(shipped)
    if selection.spec.kind == "distilled" and model is not None:
        student = student_of(selection, model.model, guidance, nfe)
        return FoundSolver(selection.name, nfe, setting, student.sampler(nfe), student=student)
    sampler = sampler_of(selection, nfe, setting.path, setting.interval)
    table = sampler if isinstance(sampler, NonStationarySolver) else None
    return FoundSolver(selection.name, nfe, setting, sampler, table)


def loaded(solver: str | FilePath | SolverArtefact) -> SolverArtefact:
    """Return the content of a trained solver's file, or what is one already."""
    return solver if isinstance(solver, SolverArtefact) else SolverArtefact.load(solver)


def is_file(solver: AnySolver) -> bool:
    """Return whether a text or path is meant as the file of a trained solver."""
    return isinstance(solver, str | FilePath) and (str(solver).endswith(".json") or names.is_file(solver))


def check_budget(selection: Selection[SolverSpec], nfe: int) -> None:
    """Raise UsageError if the solver cannot spend exactly ``nfe`` evaluations."""
    reason = selection.spec.budgets.reason_against(nfe)
    if reason is not None:
        raise UsageError(f"The solver {selection.name!r} {reason}.")


def _require_nfe(subject: str, own: int, asked: int | None) -> None:
    if asked not in (None, own):
        raise UsageError(f"{subject} spends {own} evaluations, not {asked}.")


def shipped_for(
    selection: Selection[SolverSpec], nfe: int, model: NamedModel | None, guidance: float
) -> SolverArtefact | None:
    """Return the solver that the package ships for the model, None if it ships none."""
    if model is None or not model.selector:
        return None
    return shipped_solver(model.selector, model.model, guidance, selection.name, nfe, selection.spec.version)


def _way_to_get(selection: Selection[SolverSpec], nfe: int) -> str:
    """Return how the file of a solver is made that is made for its model."""
    tuned = selection.spec.kind == "tuned"
    done, command = ("tuned", "tune") if tuned else ("trained", "train")
    rule = selection.plain.name if "grid" in selection.parameters else selection.name
    usual = rule in ("bns", "tuned")
    option, keyword = ("", "") if usual else (f' --solver "{rule}"', f', solver="{rule}"')
    return (
        f"has to be {done} for its model: run `bnsbench {command} MODEL --nfe {nfe}{option} --output FILE` and pass FILE,"
        f" or in Python pass what bnsbench.{command}(model, {nfe}{keyword}) returns"
    )


def _of_artefact(artefact: SolverArtefact) -> FoundSolver:
    table = artefact.solver
    return FoundSolver(artefact.name, table.nfe, Setting(artefact.path, artefact.interval), table, table, artefact)
