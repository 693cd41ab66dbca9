"""Models and solvers as commands take them, a name or a file, made ready to run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path as FilePath

from bnsbench.contract import PluginHost, Selection
from bnsbench.contract.specs import ModelSpec, SolverSpec
from bnsbench.errors import UsageError
from bnsbench.flows.model import Model
from bnsbench.flows.paths import CondOT, Path
from bnsbench.flows.precision import dtype_named
from bnsbench.nonstationary.artefact import SolverArtefact
from bnsbench.nonstationary.table import NonStationarySolver
from bnsbench.solvers.samplers import Sampler, sampler_of

Shipped = Callable[[str, int, str], SolverArtefact | None]
"""From a solver's name, NFE and version to the trained solver that the package ships, None if it ships none."""


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


def make_model(selection: Selection[ModelSpec], device: str, dtype: str | None) -> Model:
    """Return the model on the device, in the named precision or its own."""
    model: Model = selection.make()
    return model.to(device, dtype_named(dtype, model.dtype))


def find_solver(
    host: PluginHost, text: str, nfe: int | None, setting: Setting, shipped: Shipped | None = None
) -> FoundSolver:
    """Return the solver that ``text`` means, the file of a trained one or a selector.

    shipped: gives the solver of that name, NFE and version that the package ships, if so. Raises UsageError for a solver
    that needs an NFE and gets none, cannot spend it, or has to be trained first.
    """
    if text.endswith(".json") or FilePath(text).is_file():
        return _from_file(FilePath(text), nfe)
    selection = host.solver(text)
    if nfe is None:
        raise UsageError(f"The solver {selection.name!r} needs a budget: add --nfe.")
    check_budget(selection, nfe)
    if selection.spec.trained:
        artefact = None if shipped is None else shipped(selection.name, nfe, selection.spec.version)
        if artefact is not None:
            return _from_artefact(artefact)
        raise UsageError(f"{selection.name!r} {_way_to_get(selection, nfe)}, then pass FILE.")
    sampler = sampler_of(selection, nfe, setting.path, setting.interval)
    table = sampler if isinstance(sampler, NonStationarySolver) else None
    return FoundSolver(selection.name, nfe, setting, sampler, table)


def _way_to_get(selection: Selection[SolverSpec], nfe: int) -> str:
    """Return which command makes the file of a solver that is made for its model."""
    tuned = selection.spec.kind == "tuned"
    done, command = ("tuned", "tune") if tuned else ("trained", "train")
    rule = selection.plain.name if "grid" in selection.parameters else selection.name
    option = "" if rule in ("bns", "tuned") else f' --solver "{rule}"'
    return f"has to be {done} for its model: run `bnsbench {command} MODEL --nfe {nfe}{option} --output FILE`"


def check_budget(selection: Selection[SolverSpec], nfe: int) -> None:
    """Raise UsageError if the solver cannot spend exactly ``nfe`` evaluations."""
    reason = selection.spec.budgets.reason_against(nfe)
    if reason is not None:
        raise UsageError(f"The solver {selection.name!r} {reason}.")


def _from_file(file: FilePath, nfe: int | None) -> FoundSolver:
    artefact = SolverArtefact.load(file)
    table = artefact.solver
    if nfe not in (None, table.nfe):
        raise UsageError(f"The solver in {file} spends {table.nfe} evaluations, not {nfe}.")
    return _from_artefact(artefact)


def _from_artefact(artefact: SolverArtefact) -> FoundSolver:
    table = artefact.solver
    return FoundSolver(artefact.name, table.nfe, Setting(artefact.path, artefact.interval), table, table, artefact)
