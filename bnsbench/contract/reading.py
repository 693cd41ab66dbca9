"""Reading plugins one by one, so that a broken one is reported and never stops the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pluggy

from bnsbench._text import quoted
from bnsbench.contract import hookspecs
from bnsbench.contract.record_faults import fault_of
from bnsbench.contract.selectors import did_you_mean
from bnsbench.contract.sources import PluginSource
from bnsbench.contract.specs import (
    AnySpec,
    ExecutorSpec,
    ExporterSpec,
    MetricSpec,
    ModelSpec,
    PathSpec,
    ReportSpec,
    SolverSpec,
    SuiteSpec,
)
from bnsbench.errors import with_place

KINDS: Mapping[str, type[AnySpec]] = {
    "models": ModelSpec,
    "solvers": SolverSpec,
    "metrics": MetricSpec,
    "suites": SuiteSpec,
    "executors": ExecutorSpec,
    "reports": ReportSpec,
    "exporters": ExporterSpec,
    "paths": PathSpec,
}
"""The kinds of records that plugins offer; the hook of each kind is ``bnsbench_<kind>``."""

HOOKS = (*(f"bnsbench_{kind}" for kind in KINDS), "bnsbench_cell_finished")


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
    except BaseException as error:  # noqa: BLE001 (plugins may raise anything)
        _pass_on_interrupt(error)
        contribution.problems.append(f"it could not be loaded: {with_place(error)}.")
        return contribution
    contribution.loaded = True
    for kind in KINDS:
        _collect(kind, plugin, manager, contribution)
    if manager.hook.bnsbench_cell_finished.get_hookimpls():
        contribution.observe = manager.hook.bnsbench_cell_finished
    return contribution


def _pass_on_interrupt(error: BaseException) -> None:
    """Raise what the user, and no plugin, has caused."""
    if isinstance(error, KeyboardInterrupt):
        raise error


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
    except BaseException as error:  # noqa: BLE001 (plugins may raise anything)
        _pass_on_interrupt(error)
        contribution.problems.append(f"{hook} raised {with_place(error)}.")
        return
    taken: set[str] = set()
    for record in offered:
        if not isinstance(record, KINDS[kind]):
            contribution.problems.append(f"{hook} yields a {type(record).__name__}, which is not a {KINDS[kind].__name__}.")
            continue
        try:
            completed = _complete(record, plugin, contribution.source)
            fault = _fault(completed, taken)
            told = f"{hook} yields {quoted(record.name)}, {fault}"
        except Exception as error:  # noqa: BLE001 (whatever a plugin has put into its record)
            contribution.problems.append(f"{hook} yields a record that cannot be read: {with_place(error)}.")
            continue
        if fault:
            contribution.problems.append(told)
        else:
            taken.add(completed.name)
            contribution.records.append(completed)


def _complete(record: AnySpec, plugin: object, source: PluginSource) -> AnySpec:
    """Fill in the provider, the module of a target like ":function" (the plugin's own) and a file's revision."""
    if isinstance(record, SuiteSpec):
        file: Any = record.file
        file = Path(file) if isinstance(file, str) else file
        return replace(record, provider=source.name, file=file)
    own = getattr(plugin, "__name__", "") if str(record.target).startswith(":") else ""
    version = f"{record.version}+{source.revision}" if source.revision else record.version
    # Any mapping will do in a record, but only a plain one can be copied and sent to other processes.
    parameters = dict(record.parameters) if isinstance(record.parameters, Mapping) else record.parameters
    return replace(record, provider=source.name, target=f"{own}{record.target}", version=version, parameters=parameters)


def _fault(record: AnySpec, taken: set[str]) -> str | None:
    """Say what is wrong with a record; None if nothing is."""
    return fault_of(record) or ("a name that it has used before." if record.name in taken else None)
