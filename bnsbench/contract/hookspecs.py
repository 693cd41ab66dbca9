"""The plugin contract: what a package offers under the entry-point group ``bnsbench``.

A plugin is a module (or object) with functions of these names, marked by `hookimpl`. Each yields frozen records of
`bnsbench`, such as `ModelSpec`; none may import anything heavy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pluggy

from bnsbench.contract.specs import (
    ExecutorSpec,
    ExporterSpec,
    MetricSpec,
    ModelSpec,
    PathSpec,
    ReportSpec,
    SolverSpec,
    SuiteSpec,
)

GROUP = "bnsbench"

hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


@hookspec
def bnsbench_models() -> Iterable[ModelSpec]:
    """Yield a record for every model that the plugin offers."""
    return ()


@hookspec
def bnsbench_solvers() -> Iterable[SolverSpec]:
    """Yield a record for every solver that the plugin offers."""
    return ()


@hookspec
def bnsbench_metrics() -> Iterable[MetricSpec]:
    """Yield a record for every metric that the plugin offers."""
    return ()


@hookspec
def bnsbench_suites() -> Iterable[SuiteSpec]:
    """Yield a record for every suite file that the plugin ships."""
    return ()


@hookspec
def bnsbench_executors() -> Iterable[ExecutorSpec]:
    """Yield a record for every way to run cells that the plugin offers."""
    return ()


@hookspec
def bnsbench_reports() -> Iterable[ReportSpec]:
    """Yield a record for every rendering of a leaderboard that the plugin offers."""
    return ()


@hookspec
def bnsbench_exporters() -> Iterable[ExporterSpec]:
    """Yield a record for every format of other software that the plugin writes solvers in."""
    return ()


@hookspec
def bnsbench_paths() -> Iterable[PathSpec]:
    """Yield a record for every probability path that the plugin offers to models that take one by name."""
    return ()


@hookspec
def bnsbench_cell_finished(record: Mapping[str, Any]) -> None:
    """Observe a cell's record the moment it has been written; the record is JSON-like and must not be changed."""
