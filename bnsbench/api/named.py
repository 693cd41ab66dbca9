"""Models and solvers as users pass them, a name, a file or an object, made ready to run."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path as FilePath

import torch

from bnsbench.api.wrapping import WrappedModel
from bnsbench.contract import PluginHost, Selection
from bnsbench.contract.specs import SolverSpec
from bnsbench.errors import UsageError
from bnsbench.flows.model import Model
from bnsbench.flows.paths import CondOT, Path
from bnsbench.flows.precision import dtype_named
from bnsbench.models.shipped import shipped_solver
from bnsbench.nonstationary.artefact import SolverArtefact
from bnsbench.nonstationary.table import NonStationarySolver
from bnsbench.process.machine import cache_folder, choose_device
from bnsbench.solvers.samplers import Sampler, sampler_of

AnySolver = str | FilePath | SolverArtefact | NonStationarySolver
"""A solver's selector, the file of a trained one, its content, or a table."""


def open_host(plugins: Sequence[FilePath | str] | FilePath | str = ()) -> PluginHost:
    """Return the host with all plugins, those of single files and of a ``bnsbench_local.py`` in this folder among them."""
    files = [plugins] if isinstance(plugins, FilePath | str) else plugins
    return PluginHost.load([FilePath(file) for file in files], FilePath())


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

    def cache(self, folder: FilePath | None) -> FilePath:
        """Return where what is computed for the model is kept: this folder, or the one that BNSBENCH_CACHE names.

        A model that cannot be recognised by the next process, because nothing says which weights it has, gets a folder of
        this process.
        """
        passing = isinstance(self.model, WrappedModel) and self.model.passing
        return FilePath(_passing_folder().name) if passing else folder or cache_folder()


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
        dtype: "float32", "float64", "bfloat16" or "float16"; None for the model's own.

    Raises:
        UsageError: If there is no such model, device or precision.
    """
    if isinstance(model, str):
        selection, place = host.model(model), choose_device(device)
        made: Model = selection.make()
        made = made.to(place, dtype_named(dtype, made.dtype))
        return NamedModel(made, selection.canonical, place, made.modality(selection.spec.modality), selection.name)
    name, place = type(model).__name__.lower(), ""
    if isinstance(model, WrappedModel):
        name, place = model.name, model.device if device == "auto" else ""
    place = place or choose_device(device)
    return NamedModel(model.to(place, dtype_named(dtype, model.dtype)), name, place, model.modality("points"))


@dataclass(frozen=True)
class Setting:
    """Where a solver is looked at: the path and interval of a model, CondOT on [0, 1] without one."""

    path: Path = field(default_factory=CondOT)
    interval: tuple[float, float] = (0.0, 1.0)


@dataclass(frozen=True)
class FoundSolver:
    """A solver that runs: by its table, or directly if it has none; ``artefact`` is the file's content if it is a file."""

    name: str
    nfe: int
    setting: Setting
    sampler: Sampler
    table: NonStationarySolver | None = None
    artefact: SolverArtefact | None = None

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
        model: For which the package may ship the solver; None if it does not matter.
        guidance: The scale for which it may.

    Raises:
        UsageError: For a solver that needs an NFE and gets none, cannot spend it, or has to be trained first.
    """
    if isinstance(solver, NonStationarySolver):
        _require_nfe("The table", solver.nfe, nfe)
        return FoundSolver("table", solver.nfe, setting, solver, solver)
    if isinstance(solver, SolverArtefact):
        _require_nfe(f"The solver {solver.name!r}", solver.solver.nfe, nfe)
        return _of_artefact(solver)
    if str(solver).endswith(".json") or FilePath(solver).is_file():
        artefact = SolverArtefact.load(solver)
        _require_nfe(f"The solver in {solver}", artefact.solver.nfe, nfe)
        return _of_artefact(artefact)
    selection = host.solver(str(solver))
    if nfe is None:
        raise UsageError(f"The solver {selection.name!r} needs a budget: add --nfe, or nfe= in Python.")
    check_budget(selection, nfe)
    if selection.spec.trained:
        return _of_artefact(_shipped(selection, nfe, model, guidance))
    sampler = sampler_of(selection, nfe, setting.path, setting.interval)
    table = sampler if isinstance(sampler, NonStationarySolver) else None
    return FoundSolver(selection.name, nfe, setting, sampler, table)


def check_budget(selection: Selection[SolverSpec], nfe: int) -> None:
    """Raise UsageError if the solver cannot spend exactly ``nfe`` evaluations."""
    reason = selection.spec.budgets.reason_against(nfe)
    if reason is not None:
        raise UsageError(f"The solver {selection.name!r} {reason}.")


def _require_nfe(subject: str, own: int, asked: int | None) -> None:
    if asked not in (None, own):
        raise UsageError(f"{subject} spends {own} evaluations, not {asked}.")


def _shipped(selection: Selection[SolverSpec], nfe: int, model: NamedModel | None, guidance: float) -> SolverArtefact:
    """Return the solver that the package ships for the model; UsageError says how to make one if there is none."""
    found = None
    if model is not None and model.selector:
        version = selection.spec.version
        found = shipped_solver(model.selector, model.model, guidance, selection.name, nfe, version)
    if found is None:
        raise UsageError(f"{selection.name!r} {_way_to_get(selection, nfe)}, then pass FILE.")
    return found


def _way_to_get(selection: Selection[SolverSpec], nfe: int) -> str:
    """Return which command makes the file of a solver that is made for its model."""
    tuned = selection.spec.kind == "tuned"
    done, command = ("tuned", "tune") if tuned else ("trained", "train")
    rule = selection.plain.name if "grid" in selection.parameters else selection.name
    option = "" if rule in ("bns", "tuned") else f' --solver "{rule}"'
    return f"has to be {done} for its model: run `bnsbench {command} MODEL --nfe {nfe}{option} --output FILE`"


def _of_artefact(artefact: SolverArtefact) -> FoundSolver:
    table = artefact.solver
    return FoundSolver(artefact.name, table.nfe, Setting(artefact.path, artefact.interval), table, table, artefact)
