"""The table of a solver by its name."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path as FilePath

from bnsbench.api.named import AnySolver, FoundSolver, Setting, find_solver, open_host, still_model
from bnsbench.api.scope import remark_beside
from bnsbench.contract import PluginHost
from bnsbench.flows.model import Model
from bnsbench.flows.paths import Path, make_path
from bnsbench.nonstationary.artefact import SolverArtefact, exportable
from bnsbench.nonstationary.table import NonStationarySolver


def solver(
    name: AnySolver,
    nfe: int | None = None,
    model: str | Model | None = None,
    *,
    path: str | Path = "condot",
    interval: tuple[float, float] = (0.0, 1.0),
    guidance: float = 0.0,
    strict: bool = False,
    plugins: Sequence[FilePath | str] = (),
) -> NonStationarySolver:
    """Return the table of a classic solver, of a file, or of a trained solver that the package ships for a model.

    Args:
        name: A selector such as "unipc[order=3]", or the file of a trained solver.
        nfe: Evaluations that it may spend; a file knows its own.
        model: Whose path and interval to take, as a selector or an object; None for ``path`` and ``interval``.
        path: A path, or the name of one with its default numbers: "condot", "cosine", "vp", "edm" or "ve".
        interval: The times (t_begin, t_end) from noise to data.
        guidance: The scale for which a shipped solver was trained.
        strict: Whether to refuse a file that was made for another model, or another state of it; otherwise it is a warning.
        plugins: Single plugin files to load.

    Returns:
        The table; ``table(field, x0)`` samples, ``table.times``, ``table.a`` and ``table.b`` are its numbers.

    Raises:
        UsageError: For an unknown name or path, an NFE that the solver cannot spend, or one without a table.
        NotApplicableError: For a classic that the path does not allow.
    """
    host = open_host(plugins)
    if model is None:
        setting = Setting(make_path(path) if isinstance(path, str) else path, interval)
        return find_solver(host, name, nfe, setting).require_table()
    return found_for(host, name, nfe, model, guidance, strict=strict, tell=_warn).require_table()


def _warn(remark: str) -> None:
    warnings.warn(remark, stacklevel=4)


def found_for(
    host: PluginHost,
    name: AnySolver,
    nfe: int | None,
    model: str | Model | None = None,
    guidance: float = 0.0,
    *,
    strict: bool = False,
    tell: Callable[[str], None],
) -> FoundSolver:
    """Return a solver on the path and interval of a model, shipped for it perhaps; on CondOT over [0, 1] without one.

    A file has a path of its own; tell hears where it was not made for the model, which is a UsageError if strict.
    """
    if model is None:
        return find_solver(host, name, nfe, Setting())
    named = still_model(host, model)
    found = find_solver(host, name, nfe, named.setting, named, guidance)
    if remark := remark_beside(found, named, strict):
        tell(remark)
    return found


def exported_from(
    host: PluginHost,
    name: AnySolver,
    nfe: int | None,
    model: str | None = None,
    guidance: float = 0.0,
    *,
    strict: bool = False,
    tell: Callable[[str], None],
) -> SolverArtefact:
    """Return a solver with its origin, as exporters take it: the file's content, or a classic's table for the model.

    Raises:
        UsageError: If strict, for a file that was not made for the model.
        NotApplicableError: For a table of split columns, which other software cannot run.
    """
    found = found_for(host, name, nfe, model, guidance, strict=strict, tell=tell)
    if found.artefact is not None:
        return exportable(found.artefact)
    origin = None if model is None else still_model(host, model)
    return SolverArtefact(
        solver=found.require_table(),
        path=found.setting.path,
        interval=found.setting.interval,
        model="" if origin is None else origin.name,
        fingerprint="" if origin is None else origin.model.fingerprint(),
        guidance=0.0,
        name=found.name,
    )
