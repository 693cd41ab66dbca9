"""Reading plugins one by one, so that a broken one is reported and never stops the others."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pluggy

from bnsbench.contract import hookspecs
from bnsbench.contract.selectors import did_you_mean
from bnsbench.contract.sources import PluginSource
from bnsbench.contract.specs import (
    AnySpec,
    ExecutorSpec,
    ExporterSpec,
    MetricSpec,
    ModelSpec,
    ReportSpec,
    Scalar,
    SolverSpec,
    SuiteSpec,
)
from bnsbench.errors import one_line

KINDS: Mapping[str, type[AnySpec]] = {
    "models": ModelSpec,
    "solvers": SolverSpec,
    "metrics": MetricSpec,
    "suites": SuiteSpec,
    "executors": ExecutorSpec,
    "reports": ReportSpec,
    "exporters": ExporterSpec,
}
"""The kinds of records that plugins offer; the hook of each kind is ``bnsbench_<kind>``."""

HOOKS = (*(f"bnsbench_{kind}" for kind in KINDS), "bnsbench_cell_finished")

_NAME = re.compile(r"[a-z0-9][a-z0-9+._-]*")
_TARGET = re.compile(r"[\w.]+:[\w.]+")


@dataclass
class Contribution:
    """The content of one plugin: its records, its observer of finished cells, and its faults."""

    source: PluginSource
    loaded: bool = False
    records: list[AnySpec] = field(default_factory=list)
    observe: Callable[..., Any] | None = None
    problems: list[str] = field(default_factory=list)

    def counts(self) -> dict[str, int]:
        """Return how many records it offers of each kind that it offers."""
        counts = {kind: sum(isinstance(record, type_) for record in self.records) for kind, type_ in KINDS.items()}
        return {kind: count for kind, count in counts.items() if count}


def read(source: PluginSource) -> Contribution:
    """Import a plugin and collect its records; its faults are kept in ``problems``."""
    contribution = Contribution(source)
    try:
        plugin = source.load()
        contribution.problems += _hook_name_faults(plugin)
        manager = pluggy.PluginManager(hookspecs.GROUP)
        manager.add_hookspecs(hookspecs)
        manager.register(plugin, source.name)
    except (Exception, SystemExit) as error:  # noqa: BLE001 (plugins may raise anything)
        contribution.problems.append(f"it could not be loaded: {_describe(error)}.")
        return contribution
    contribution.loaded = True
    for kind in KINDS:
        _collect(kind, plugin, manager, contribution)
    if manager.hook.bnsbench_cell_finished.get_hookimpls():
        contribution.observe = manager.hook.bnsbench_cell_finished
    return contribution


def _hook_name_faults(plugin: object) -> Iterator[str]:
    """Name the functions that look like hooks but would never be called."""
    for name in dir(plugin):
        function = getattr(plugin, name, None)
        if not callable(function):
            continue
        marked = hasattr(function, f"{hookspecs.GROUP}_impl")
        if (marked or name.startswith("bnsbench_")) and name not in HOOKS:
            yield f"there is no hook {name!r}; {did_you_mean(name, HOOKS)}"
        elif name in HOOKS and not marked:
            yield f"{name!r} is not marked with @bnsbench.hookimpl, so it is not called."


def _collect(kind: str, plugin: object, manager: pluggy.PluginManager, contribution: Contribution) -> None:
    """Call one hook and keep the records that are in order; a hook that raises contributes none."""
    hook = f"bnsbench_{kind}"
    try:
        offered = [record for records in getattr(manager.hook, hook)() for record in records]
    except (Exception, SystemExit) as error:  # noqa: BLE001 (plugins may raise anything)
        contribution.problems.append(f"{hook} raised {_describe(error)}.")
        return
    taken: set[str] = set()
    for record in offered:
        if not isinstance(record, KINDS[kind]):
            contribution.problems.append(f"{hook} yields a {type(record).__name__}, which is not a {KINDS[kind].__name__}.")
            continue
        completed = _complete(record, plugin, contribution.source)
        fault = _fault(completed, taken)
        if fault:
            contribution.problems.append(f"{hook} yields {record.name!r}, {fault}")
        else:
            taken.add(completed.name)
            contribution.records.append(completed)


def _complete(record: AnySpec, plugin: object, source: PluginSource) -> AnySpec:
    """Fill in the provider, the module of a target like ":function" (the plugin's own) and a file's revision."""
    if isinstance(record, SuiteSpec):
        return replace(record, provider=source.name)
    own = getattr(plugin, "__name__", "") if str(record.target).startswith(":") else ""
    version = f"{record.version}+{source.revision}" if source.revision else record.version
    return replace(record, provider=source.name, target=f"{own}{record.target}", version=version)


def _fault(record: AnySpec, taken: set[str]) -> str | None:
    """Say what is wrong with a record; None if nothing is."""
    if not _NAME.fullmatch(str(record.name)):
        return "a name that is not made of lower-case letters, digits and + . _ - alone."
    if record.name in taken:
        return "a name that it has used before."
    if isinstance(record, SuiteSpec):
        return None if Path(record.file).is_file() else f"whose file {str(record.file)!r} does not exist."
    if not _TARGET.fullmatch(str(record.target)):
        return f"whose target {record.target!r} is not of the form 'package.module:attribute'."
    wrong = [key for key, value in record.parameters.items() if not isinstance(value, Scalar)]
    if wrong:
        return f"whose default of {wrong[0]!r} is not a bool, int, float or str."
    unknown = [name for name in record.later if name not in record.parameters]
    return f"whose later parameter {unknown[0]!r} is not among its parameters." if unknown else None


def _describe(error: BaseException) -> str:
    """Return an exception's type, text and the place that raised it, on one line."""
    text = one_line(error)
    frames = traceback.extract_tb(error.__traceback__)
    return f"{type(error).__name__}: {text} ({Path(frames[-1].filename).name}, line {frames[-1].lineno})"
