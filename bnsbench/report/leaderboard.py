"""The leaderboard: records as rows of a DataFrame, ranked per field and NFE."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import pandas as pd

from bnsbench.plugins.sources import BUILTIN
from bnsbench.report.statistics import paired_difference
from bnsbench.suite.record import Record, Score

FIELD = ("model", "guidance", "seed")
"""What solvers must share to be comparable, besides the NFE."""

IDENTITY = ("model", "guidance", "solver", "nfe", "seed")
FACTS = ("samples", "dtype", "ceiling", "forwards", "train_forwards", "teacher_forwards", "solver_provider", "reason", "key")
TIMINGS = ("seconds", "seconds_training", "seconds_total")

PARTS = ("", "_low", "_high", "_median", "_p05", "_standing")
"""What may follow a metric's name in a column's: its value, interval, median, 5 % quantile and standing.

A standing is "best", or "tied" for a solver that the paired 95 % interval over the same noise does not separate from the
best, among the solvers of the same model, guidance, seed and NFE.
"""


def leaderboard(records: Iterable[Record]) -> pd.DataFrame:
    """Return one row per record, in the order given.

    Columns: model, guidance, solver, nfe, seed, status; per metric its value and whichever of PARTS exist; forwards and
    train_forwards (network forwards per sample, and in total for training), further FACTS; last, TIMINGS in seconds.
    ``frame.attrs`` lists the "metrics", PSNR first, and their "units".
    """
    rows = list(records)
    metrics = metric_names(rows)
    content = [_row(record, metrics) for record in rows]
    for row, model, solver in zip(content, component_names(rows, "model"), component_names(rows, "solver"), strict=True):
        row["model"], row["solver"] = model, solver
    for metric in metrics:
        for row, standing in zip(content, _standings(rows, metric), strict=True):
            row[f"{metric}_standing"] = standing
    columns = [*IDENTITY, "status", *(f"{metric}{part}" for metric in metrics for part in PARTS), *FACTS, *TIMINGS]
    frame = pd.DataFrame(content, columns=columns)
    unused = [f"{metric}{part}" for metric in metrics for part in PARTS[1:-1] if frame[f"{metric}{part}"].isna().all()]
    frame = frame.drop(columns=unused)
    frame.attrs["metrics"] = list(metrics)
    frame.attrs["units"] = {name: score.unit for record in rows for name, score in record.metrics.items()}
    return frame


def component_names(records: Sequence[Record], kind: Literal["model", "solver"]) -> list[str]:
    """Return what the records' models or solvers are called: their selectors, with the plugin where another has the name.

    Built-in components keep their plain names.
    """
    components = [record.cell[kind] for record in records]
    providers: dict[str, set[str]] = {}
    for each in components:
        providers.setdefault(_bare(each), set()).add(each["provider"])
    return [
        f"{each['provider']}/{each['name']}"
        if len(providers[_bare(each)]) > 1 and each["provider"] != BUILTIN
        else str(each["name"])
        for each in components
    ]


def metric_names(records: Sequence[Record]) -> list[str]:
    """Return the metrics of the records: PSNR first, then as they come."""
    names = dict.fromkeys(name for record in records for name in record.metrics)
    return sorted(names, key=lambda name: name != "psnr")


def _bare(component: Mapping[str, Any]) -> str:
    return str(component["name"].partition("[")[0])


def _row(record: Record, metrics: Sequence[str]) -> dict[str, Any]:
    cell = record.cell
    row: dict[str, Any] = {
        "guidance": cell["guidance"],
        "nfe": cell["nfe"],
        "seed": cell["seed"],
        "status": record.status,
        "samples": cell["samples"],
        "dtype": record.model.get("dtype"),
        "ceiling": record.truth.get("ceiling"),
        "forwards": record.forwards,
        "train_forwards": record.train_forwards,
        "teacher_forwards": record.solver.get("forwards", {}).get("teacher"),
        "solver_provider": cell["solver"]["provider"],
        "reason": record.reason,
        "key": record.key,
        "seconds": record.seconds.get("sampling"),
        "seconds_training": record.seconds.get("training"),
        "seconds_total": record.seconds.get("total"),
    }
    for metric in metrics:
        row.update(_score_columns(metric, record.metrics.get(metric)))
    return row


def _score_columns(metric: str, score: Score | None) -> dict[str, Any]:
    if score is None:
        return {}
    numbers = {"": score.value, "_low": score.low, "_high": score.high}
    details = {f"_{name}": score.details.get(name) for name in ("median", "p05")}
    return {f"{metric}{part}": value for part, value in {**numbers, **details}.items()}


def _standings(records: Sequence[Record], metric: str) -> list[str]:
    """Return every record's standing, "" for those that are neither best nor tied with it."""
    groups: dict[tuple[Any, ...], list[int]] = {}
    for index, record in enumerate(records):
        if record.status == "ok" and metric in record.metrics and record.metrics[metric].value is not None:
            cell = record.cell
            model = cell["model"]
            key = model["provider"], model["name"], cell["guidance"], cell["seed"], cell["nfe"]
            groups.setdefault(key, []).append(index)
    standings = [""] * len(records)
    for members in groups.values():
        best = _best([records[index] for index in members], metric)
        for index in members:
            standings[index] = _standing(records[index], best, metric)
    return standings


def _best(records: Sequence[Record], metric: str) -> Record:
    def value(record: Record) -> float:
        score = record.metrics[metric]
        return (score.value or 0.0) * (1.0 if score.direction == "higher" else -1.0)

    return max(records, key=value)


def _standing(record: Record, best: Record, metric: str) -> str:
    if record.metrics[metric].value == best.metrics[metric].value:
        return "best"
    difference = paired_difference(best.per_sample.get(metric, ()), record.per_sample.get(metric, ()))
    return "tied" if difference is not None and not difference.separable else ""
