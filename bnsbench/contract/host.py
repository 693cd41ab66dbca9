"""The host: loads all plugins and finds components by name."""

from __future__ import annotations

import copy
import logging
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from bnsbench.contract.packages import package_hint
from bnsbench.contract.programs import NONE, Digests
from bnsbench.contract.reading import Contribution, read
from bnsbench.contract.selectors import Selection, did_you_mean, parse_selector, select, tuned
from bnsbench.contract.sources import BUILTIN, PluginProblem, find_sources
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
from bnsbench.errors import BnsbenchError, UsageError, one_line, printable
from bnsbench.process.interrupts import interrupts_told

STRICT = "BNSBENCH_STRICT_PLUGINS"

_KNOWN_AS = re.compile(
    r"(?P<name>[^\s\[]+)(?P<settings>\[.*\])?(?P<condition> at [^()]+)? \((?P<software>.+?)\)(: (?P<ours>.+))?"
)
"""An entry of `SolverSpec.known_as`."""

_log = logging.getLogger(__name__)
_Record = TypeVar("_Record", bound=AnySpec)
_SpecT = TypeVar("_SpecT", ModelSpec, SolverSpec, MetricSpec, ExecutorSpec, ReportSpec, ExporterSpec)


@dataclass(frozen=True)
class LoadedPlugin:
    """A plugin in use; ``counts`` says how many records it offers of each kind that it offers."""

    name: str
    version: str
    origin: str
    counts: Mapping[str, int]


@dataclass(frozen=True)
class PluginHost:
    """All components, sorted: built-ins first, then by name and provider.

    A host is pickled as the arguments of `load`, so that worker processes load the same plugins.
    """

    models: tuple[ModelSpec, ...]
    solvers: tuple[SolverSpec, ...]
    metrics: tuple[MetricSpec, ...]
    suites: tuple[SuiteSpec, ...]
    executors: tuple[ExecutorSpec, ...]
    reports: tuple[ReportSpec, ...]
    exporters: tuple[ExporterSpec, ...]
    paths: tuple[PathSpec, ...]
    plugins: tuple[LoadedPlugin, ...]
    problems: tuple[PluginProblem, ...]
    files: tuple[Path, ...] = ()
    local: Path | None = None
    programs: Digests = NONE
    observers: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    _reported: set[str] = field(default_factory=set, repr=False)

    @classmethod
    def load(cls, files: Sequence[Path] = (), local: Path | None = None, programs: Digests = NONE) -> PluginHost:
        """Load the built-ins, the installed plugins, the folder ``local``'s bnsbench_local.py and single files.

        BNSBENCH_PLUGINS, if set, lists the installed and local plugins to load, separated by commas; empty means none. The
        faults of plugins are kept in ``problems``.

        Args:
            files: Single plugin files, which are loaded in any case.
            local: A folder that may have a bnsbench_local.py, or None.
            programs: Hashes of the programs in files that components may run, see `bnsbench.contract.programs`.

        Raises:
            UsageError: If one of the files cannot be read.
            BnsbenchError: If a plugin is faulty and BNSBENCH_STRICT_PLUGINS is 1.
        """
        sources, problems = find_sources(files, local)
        found = [read(source) for source in sources]
        problems += [PluginProblem(each.source.name, reason) for each in found for reason in each.problems]
        if problems and os.environ.get(STRICT) == "1":
            listed = " ".join(f"{problem.plugin}: {problem.reason}" for problem in problems)
            raise BnsbenchError(f"{STRICT} is 1 and plugins are faulty. {listed}")
        return cls(
            models=_gather(found, ModelSpec),
            solvers=_gather(found, SolverSpec),
            metrics=_gather(found, MetricSpec),
            suites=_gather(found, SuiteSpec),
            executors=_gather(found, ExecutorSpec),
            reports=_gather(found, ReportSpec),
            exporters=_gather(found, ExporterSpec),
            paths=_gather(found, PathSpec),
            plugins=tuple(_loaded(each) for each in found if each.loaded),
            problems=tuple(problems),
            files=tuple(Path(file).resolve() for file in files),
            local=None if local is None else local.resolve(),
            programs=programs,
            observers={each.source.name: each.observe for each in found if each.observe is not None},
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return PluginHost.load, (self.files, self.local, self.programs)

    def model(self, selector: str) -> Selection[ModelSpec]:
        """Return the model that the selector means; UsageError if it means none or several."""
        return replace(_find("model", self.models, selector), programs=self.programs, paths=self.paths)

    def solver(self, selector: str) -> Selection[SolverSpec]:
        """Return the solver that the selector means; UsageError if it means none or several.

        A traced one with ``grid=best`` is a tuned one.
        """
        return tuned(_find("solver", self.solvers, selector))

    def metric(self, selector: str) -> Selection[MetricSpec]:
        """Return the metric that the selector means; UsageError if it means none or several."""
        return replace(_find("metric", self.metrics, selector), programs=self.programs)

    def settled(self, kind: Literal["model", "solver", "metric"], selector: str, provider: str) -> str:
        """Return a selector that a plugin uses, qualified by the plugin's name if it offers one of several such components.

        Any other selector is returned unchanged.

        Args:
            kind: Of the component.
            selector: As the plugin writes it.
            provider: The plugin's name.

        Raises:
            UsageError: If the selector is malformed.
        """
        given, name, _ = parse_selector(selector)
        offering = {record.provider for record in getattr(self, f"{kind}s") if record.name == name}
        own = given is None and len(offering) > 1 and provider in offering
        return f"{provider}/{selector.strip()}" if own else selector

    def executor(self, selector: str) -> Selection[ExecutorSpec]:
        """Return the executor that the selector means; UsageError if it means none or several."""
        return _find("executor", self.executors, selector)

    def report(self, selector: str) -> Selection[ReportSpec]:
        """Return the report that the selector means; UsageError if it means none or several."""
        return _find("report", self.reports, selector)

    def exporter(self, selector: str) -> Selection[ExporterSpec]:
        """Return the exporter that the selector means; UsageError if it means none or several."""
        return _find("exporter", self.exporters, selector)

    def suite(self, name: str) -> SuiteSpec:
        """Return the suite of that name; UsageError if it means none or several."""
        provider, bare, settings = parse_selector(name)
        if settings:
            raise UsageError(f"Suites have no parameters, so {name!r} means none: copy its file and change it there.")
        return _one("suite", self.suites, provider, bare)

    def cell_finished(self, record: Mapping[str, Any]) -> None:
        """Pass a copy of the record to every observer; one that raises is reported once and does not stop the run."""
        for plugin, observe in self.observers.items():
            with interrupts_told() as interrupts:
                try:
                    observe(record=copy.deepcopy(record))
                except BaseException as error:
                    if interrupts.by_user(error):
                        raise
                    if plugin not in self._reported:
                        self._reported.add(plugin)
                        told = type(error).__name__, one_line(error, full_stop=True)
                        _log.warning("bnsbench_cell_finished of %s raised %s: %s", plugin, *map(printable, told))


def _gather(found: Sequence[Contribution], kind: type[_Record]) -> tuple[_Record, ...]:
    records = [record for each in found for record in each.records if isinstance(record, kind)]
    return tuple(sorted(records, key=lambda record: (record.provider != BUILTIN, record.name, record.provider)))


def _loaded(contribution: Contribution) -> LoadedPlugin:
    source = contribution.source
    return LoadedPlugin(source.name, source.version, source.origin, contribution.counts())


def _find(kind: str, records: Sequence[_SpecT], selector: str) -> Selection[_SpecT]:
    provider, name, settings = parse_selector(selector)
    spec = _one(kind, records, provider, name)
    shared = sum(record.name == name for record in records) > 1
    # Built-in components keep their plain names, whatever plugins bring: records hold them.
    return select(spec, settings, qualified=shared and spec.provider != BUILTIN)


def _one(kind: str, records: Sequence[_Record], provider: str | None, name: str) -> _Record:
    """Return the record of that name, and of that provider if one is given."""
    providers = {record.provider for record in records}
    if provider is not None and provider not in providers:
        raise UsageError(f"No plugin {provider!r} offers a {kind}; {did_you_mean(provider, providers)}")
    offered = [record for record in records if provider in (None, record.provider)]
    named = [record for record in offered if record.name == name]
    if not named:
        hint = (package_hint(kind, name) if provider is None else None) or _known_elsewhere(name, offered)
        hint = hint or did_you_mean(name, {record.name for record in offered})
        raise UsageError(f"There is no {kind} {name!r}; {hint}")
    if len(named) > 1:
        choices = " or ".join(f"{record.provider}/{name}" for record in named)
        raise UsageError(f"Several plugins offer a {kind} {name!r}; write {choices}.")
    return named[0]


def _known_elsewhere(name: str, records: Sequence[AnySpec]) -> str | None:
    """Return the end of an error message, if the name is other software's of one of the records.

    Of several, the one that is spelt like it is taken first, and then one with fewer settings.
    """
    entries = [(record, entry) for record in records if isinstance(record, SolverSpec) for entry in record.known_as]
    found = [(record, match) for record, entry in entries if (match := _KNOWN_AS.fullmatch(entry)) is not None]
    same = [(record, match) for record, match in found if _letters(match["name"]) == _letters(name)]
    if not same:
        return None
    record, match = min(same, key=lambda each: (each[1]["name"] != name, len(each[1]["settings"] or "")))
    theirs = f"{match['name']}{match['settings'] or ''}{match['condition'] or ''}"
    owner = f"{match['software']}'" if match["software"].endswith("s") else f"{match['software']}'s"
    return f"did you mean {match['ours'] or record.name!r} ({owner} {theirs})?"


def _letters(name: str) -> str:
    """Return the name in a form that all its spellings share: sample_dpmpp_2m, dpmpp-2m and DPM++ 2M have the same."""
    plain = re.sub("[^a-z0-9]", "", name.lower().replace("+", "p"))
    return plain.removeprefix("sample").removesuffix("scheduler")
