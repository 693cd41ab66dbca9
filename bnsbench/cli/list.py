"""``bnsbench list``: what there is to choose from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from enum import StrEnum
from typing import Annotated

import typer

from bnsbench.cli.options import AsJson, PluginFiles, open_host
from bnsbench.cli.printing import print_json, print_table
from bnsbench.specs import AnySpec, MetricSpec, ModelSpec, SolverSpec, Spec, SuiteSpec


class Kind(StrEnum):
    """What can be listed."""

    models = "models"
    solvers = "solvers"
    metrics = "metrics"
    suites = "suites"
    exporters = "exporters"


COLUMNS = {
    Kind.models: ("name", "modality", "guidable", "parameters", "provider", "summary"),
    Kind.solvers: ("name", "kind", "order", "nfe", "parameters", "provider", "summary"),
    Kind.metrics: ("name", "unit", "better", "parameters", "provider", "summary"),
    Kind.suites: ("name", "provider", "summary"),
    Kind.exporters: ("name", "parameters", "provider", "summary"),
}


def list_components(
    kind: Annotated[Kind, typer.Argument(help="What to list.")], plugin: PluginFiles = None, as_json: AsJson = False
) -> None:
    """List the models, solvers, metrics, suites or exporters that can be used by name."""
    host = open_host(plugin)
    records: Sequence[AnySpec] = getattr(host, kind.value)
    if as_json:
        print_json([asdict(record) for record in records])
    else:
        print_table(COLUMNS[kind], [_row(record) for record in records])


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
