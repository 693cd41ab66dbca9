"""The plan that a suite gives here, as far as its components are installed, and what cannot be had."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from bnsbench.contract import PluginHost
from bnsbench.errors import BnsbenchError, CorruptFileError, one_line
from bnsbench.storage.strict_json import read_json
from bnsbench.suite.plan import Cell, make_plan
from bnsbench.suite.record import Record
from bnsbench.suite.store import ResultStore
from bnsbench.suite.suitefile import ModelEntry, Suite, find_suite, read_suite

Kind = Literal["model", "solver", "metric"]


@dataclass(frozen=True)
class Absent:
    """A component of a suite that cannot be had here.

    selector: as the suite writes it. plugin: its plugin, "" if that is not known. why: the reason.
    """

    kind: Kind
    selector: str
    plugin: str
    why: str

    def is_of(self, record: Record) -> bool:
        """Return whether a record's cell has this model or solver."""
        return self.kind != "metric" and self.names(record.cell[self.kind])

    def names(self, component: Any) -> bool:
        """Return whether a component of a record's cell is this one, whatever its parameters."""
        head = self.selector.partition("[")[0]
        provider, _, name = head.rpartition("/")
        return component["name"].partition("[")[0] == name and provider in ("", component["provider"])


@dataclass(frozen=True)
class KnownPlan:
    """The cells of a suite whose components are here, and the components that are not."""

    cells: tuple[Cell, ...]
    absent: tuple[Absent, ...] = ()


def known_plan(store: ResultStore, host: PluginHost, records: Iterable[Record] = ()) -> KnownPlan:
    """Return the plan of a results folder's suite, without what no plugin offers here.

    Args:
        store: The results folder.
        host: The plugins.
        records: Its records, which say of which plugin a component was.

    Raises:
        UsageError: If suite.toml cannot be read.
    """
    suite, absent = read_suite(store.suite_file), dict[tuple[Kind, str], Absent]()
    found: dict[Kind, Callable[[str], Any]] = {"model": host.model, "solver": host.solver, "metric": host.metric}
    known, named = list(records), _named_plugins(store)

    def there(kind: Kind, selector: str) -> bool:
        if (kind, selector) not in absent:
            try:
                found[kind](selector)
            except BnsbenchError as error:
                absent[kind, selector] = _absent(kind, selector, error, host, known, named)
        return (kind, selector) not in absent

    entries = [_kept(entry, there) for entry in suite.full_entries()]
    kept = tuple(entry for entry in entries if entry is not None)
    cells = make_plan(_with(suite, kept), host) if kept else ()
    return KnownPlan(cells, tuple(absent.values()))


def difference_from_installed(store: ResultStore, host: PluginHost) -> str:
    """Return a sentence on what sets suite.toml apart from the suite of that name that is installed; "" for nothing."""
    try:
        own = read_suite(store.suite_file)
        installed = find_suite(own.name, host) if own.name in {record.name for record in host.suites} else own
    except BnsbenchError:
        return ""
    pairs = ((name, getattr(own, name), getattr(installed, name)) for name in Suite.model_fields)
    changed = [name for name, ours, theirs in pairs if ours != theirs]
    if not changed:
        return ""
    return f"suite.toml is not the suite {own.name!r} that is installed here: it differs in {', '.join(changed)}."


def _kept(entry: ModelEntry, there: Callable[[Kind, str], bool]) -> ModelEntry | None:
    """Return a model's entry with the solvers and metrics that are there; None if the model or all solvers are not."""
    solvers = tuple(name for name in entry.solvers or () if there("solver", name))
    metrics = tuple(name for name in entry.metrics or () if there("metric", name))
    if not there("model", entry.name) or not solvers:
        return None
    return entry.model_copy(update={"solvers": solvers, "metrics": metrics})


def _with(suite: Suite, entries: tuple[ModelEntry, ...]) -> Suite:
    return suite.model_copy(update={"models": entries})


def _absent(
    kind: Kind,
    selector: str,
    error: BnsbenchError,
    host: PluginHost,
    records: Sequence[Record],
    named: dict[str, str],
) -> Absent:
    """Return a component that cannot be had, with its plugin: named by the selector, by a record, or by elimination."""
    absent = Absent(kind, selector, selector.partition("[")[0].rpartition("/")[0], one_line(error))
    if not absent.plugin and kind != "metric":
        components = (record.cell[kind] for record in records)
        providers = {str(component["provider"]) for component in components if absent.names(component)}
        absent = replace(absent, plugin=" or ".join(sorted(providers)))
    installed = {plugin.name for plugin in host.plugins}
    if not absent.plugin:
        gone = sorted(name for name in named if name not in installed)
        absent = replace(absent, plugin=" or ".join(gone))
    version = named.get(absent.plugin)
    broken = [problem.reason for problem in host.problems if problem.plugin == absent.plugin]
    absent = replace(absent, why=one_line(broken[0]) if broken else absent.why)
    return replace(absent, plugin=f"{absent.plugin} {version}" if version else absent.plugin)


def _named_plugins(store: ResultStore) -> dict[str, str]:
    """Return the plugins, with their versions, that environment.json and the suite name."""
    try:
        found = read_json(store.environment_file)["plugins"]
        named = {str(name): str(version) for name, version in found.items()}
    except (CorruptFileError, KeyError, TypeError, AttributeError):
        named = {}
    return dict.fromkeys(read_suite(store.suite_file).plugins, "") | named
