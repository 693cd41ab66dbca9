"""``bnsbench list``: what there is to choose from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from enum import StrEnum
from typing import Annotated

import typer

from bnsbench.cli.options import AsJson, PluginFiles, open_host
from bnsbench.cli.printing import print_json, print_table
from bnsbench.contract.specs import AnySpec, MetricSpec, ModelSpec, SolverSpec, Spec, SuiteSpec


class Kind(StrEnum):
    """What can be listed."""

    models = "models"
    solvers = "solvers"
    metrics = "metrics"
    suites = "suites"
    exporters = "exporters"
    executors = "executors"
    reports = "reports"


COLUMNS = {
    Kind.models: ("name", "modality", "guidable", "parameters", "provider", "summary"),
    Kind.solvers: ("name", "kind", "order", "nfe", "parameters", "provider", "summary"),
    Kind.metrics: ("name", "unit", "better", "parameters", "provider", "summary"),
    Kind.suites: ("name", "provider", "summary"),
    **dict.fromkeys((Kind.exporters, Kind.executors, Kind.reports), ("name", "parameters", "provider", "summary")),
}


def list_components(
    kind: Annotated[Kind | None, typer.Argument(help="What to list; everything if nothing is named.")] = None,
    plugin: PluginFiles = None,
    as_json: AsJson = False,
) -> None:
    """List the models, solvers, metrics and all else that can be used by name."""
    host = open_host(plugin)
    found: dict[Kind, Sequence[AnySpec]] = {each: getattr(host, each.value) for each in ([kind] if kind else Kind)}
    if as_json:
        content = {each.value: [asdict(record) for record in records] for each, records in found.items()}
        print_json(content[kind.value] if kind else content)
        return
    for each, records in found.items():
        if kind is None:
            typer.echo(f"\n{each.value}\n")
        print_table(COLUMNS[each], [_row(record) for record in records])


def _row(record: AnySpec) -> list[str]:
    if isinstance(record, SuiteSpec):
        return [record.name, record.provider, record.summary]
    return [record.name, *_properties(record), _parameters(record), record.provider, record.summary]


def _properties(record: Spec) -> list[str]:
    if isinstance(record, ModelSpec):
        return [record.modality, "yes" if record.guidable else "no"]
    if isinstance(record, SolverSpec):
        return [record.kind, "" if record.order is None else str(record.order), _budgets(record)]
    return [record.unit, record.direction] if isinstance(record, MetricSpec) else []


def _budgets(record: SolverSpec) -> str:
    first, step = record.budgets.minimum, record.budgets.step
    return f"{first}, {first + step}, {first + 2 * step}, ..."


def _parameters(record: Spec) -> str:
    return ",".join(f"{key}={value}" for key, value in record.parameters.items())
