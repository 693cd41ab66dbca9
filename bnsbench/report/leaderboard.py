"""The leaderboard: records as rows of a DataFrame, ranked per field and NFE."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import pandas as pd

from bnsbench.contract.sources import BUILTIN
from bnsbench.report.gains import gains
from bnsbench.report.kinds import kinds
from bnsbench.report.measures import (
    OF_PSNR,
    PSNR,
    MeasuredValue,
    direction_of,
    measured_values,
    metric_of,
    with_further,
)
from bnsbench.report.standings import standings
from bnsbench.suite.record import Record

FIELD = ("model", "guidance", "seed")
"""The columns that comparable solvers share, besides the NFE."""

IDENTITY = ("model", "guidance", "solver", "nfe", "seed")
SIZES = ("parameters", "train_examples")
"""Of what was learned: its numbers, and the pairs or images from which."""
FACTS = (
    *("kind", "rule", "grid", "shipped", "samples", "dtype", "ceiling", "forwards", "train_forwards", "teacher_forwards"),
    *(*SIZES, "solver_provider", "reason", "key"),
)
TIMINGS = ("seconds", "seconds_training", "seconds_total")

STANDING, RANKS = "_standing", ("_rank_low", "_rank_high")
GAIN = ("_gain", "_gain_low", "_gain_high", "_gain_untuned", "_gain_over")
PARTS = ("", "_low", "_high", "_median", "_p05", "_truth", STANDING, *RANKS, *GAIN)
"""Ends of the names of a measure's columns: its value, interval, median and 5 % quantile, the ground truth's own value, the
standing and the range of ranks (see `bnsbench.report.standings.Standing`); for learned solvers and measures in dB the gain
over the best classic, its interval, the gain over the best untuned one, and the name of that best classic (see
`bnsbench.report.gains.Gain`).
"""


def leaderboard(records: Iterable[Record], planned: Iterable[str] = ()) -> pd.DataFrame:
    """Return one row per record, in the order given.

    Args:
        records: The records of a run.
        planned: The suite's metrics, which have columns (without a value) even where no record got as far as any metric.

    Returns:
        Columns: model, guidance, solver, nfe, seed, status; per measure its value and whichever of PARTS exist; kind
        ("classic", "tuned", "learned", "distilled" or "direct") of the solver, rule and grid of a tuned one, whether the
        package shipped it; forwards and train_forwards (network forwards per sample, and in total for training), further
        FACTS, of which SIZES only if some solver has them; last, TIMINGS in seconds. The measures are the metrics and, after
        PSNR, ``psnr_mse`` and ``psnr_p05``; see `bnsbench.report.measures`. ``frame.attrs`` lists the "metrics", PSNR first,
        the "measures", the "units" and "directions" of the measures, and the "devices" of the rows, on which TIMINGS depend.
    """
    rows = list(records)
    metrics = metric_names(rows) or sorted(dict.fromkeys(planned), key=lambda name: name != PSNR)
    measures = with_further(metrics)
    content = _Columns(len(rows))
    for index, record in enumerate(rows):
        content.put(index, _row(record))
    models, solvers, kind_of = component_names(rows, "model"), component_names(rows, "solver"), kinds(rows)
    content.columns |= {"model": models, "solver": solvers, "kind": kind_of}
    for measure in measures:
        measured = measured_values(rows, measure)
        values = [each.value for each in measured]
        judged = (measured, standings(rows, measure, values), gains(rows, kind_of, measure, values))
        for index, (record, value, found, gain) in enumerate(zip(rows, *judged, strict=True)):
            content.put(index, _measure_columns(record, measure, value))
            content.put(index, _columns(measure, (STANDING, *RANKS), (found.word, found.rank_low, found.rank_high)))
            if gain is not None:
                figures = (gain.value, gain.low, gain.high, gain.untuned, solvers[gain.over])
                content.put(index, _columns(measure, GAIN, figures))
    parts = dict.fromkeys(f"{measure}{part}" for measure in measures for part in PARTS)
    frame = pd.DataFrame({name: content.column(name) for name in (*IDENTITY, "status", *parts, *FACTS, *TIMINGS)})
    kept = {*metrics, *(f"{measure}{STANDING}" for measure in measures)}
    frame = frame.drop(columns=[name for name in (*parts, *SIZES) if name not in kept and frame[name].isna().all()])
    units = {PSNR: "dB"} | {name: score.unit for record in rows for name, score in record.metrics.items()}
    shown = [measure for measure in measures if measure in frame.columns]
    frame = frame.drop(columns=[f"{measure}{STANDING}" for measure in measures if measure not in shown])
    frame.attrs["metrics"], frame.attrs["measures"] = list(metrics), shown
    frame.attrs["units"] = {measure: units.get(metric_of(measure), "") for measure in shown}
    frame.attrs["directions"] = {measure: direction_of(rows, measure) for measure in shown}
    places = [record.environment for record in rows]
    frame.attrs["devices"] = [str(place.get("device_name") or place.get("device") or "") for place in places]
    return frame


class _Columns:
    """The columns of a table by name, which takes far less memory than a row of names and values for every record."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.columns: dict[str, list[Any]] = {}

    def column(self, name: str) -> list[Any]:
        """Return a column, all NaN if nothing was put into it."""
        return self.columns.get(name, [math.nan] * self.length)

    def put(self, index: int, row: Mapping[str, Any]) -> None:
        """Put values into the columns of their names; where none is put, there is NaN."""
        for name, value in row.items():
            column = self.columns.get(name)
            if column is None:
                column = self.columns[name] = [math.nan] * self.length
            column[index] = value


def component_names(records: Sequence[Record], kind: Literal["model", "solver"]) -> list[str]:
    """Return the names of the records' models or solvers: their selectors, with the plugin's name where two have the same.

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
    return sorted(names, key=lambda name: name != PSNR)


def _bare(component: Mapping[str, Any]) -> str:
    return str(component["name"].partition("[")[0])


def _row(record: Record) -> dict[str, Any]:
    """Return the columns of a record that no measure has."""
    cell = record.cell
    return {
        "guidance": cell["guidance"],
        "nfe": cell["nfe"],
        "seed": cell["seed"],
        "status": record.status,
        "rule": str(record.solver.get("rule") or ""),
        "grid": str(record.solver.get("grid") or ""),
        "shipped": record.shipped,
        "samples": cell["samples"],
        "dtype": record.model.get("dtype"),
        "ceiling": record.truth.get("ceiling"),
        "forwards": record.forwards,
        "train_forwards": record.train_forwards,
        "teacher_forwards": record.solver.get("forwards", {}).get("teacher"),
        "parameters": record.solver.get("parameters"),
        "train_examples": record.solver.get("examples"),
        "solver_provider": cell["solver"]["provider"],
        "reason": record.reason,
        "key": record.key,
        "seconds": record.seconds.get("sampling"),
        "seconds_training": record.seconds.get("training"),
        "seconds_total": record.seconds.get("total"),
    }


def _columns(measure: str, parts: Iterable[str], values: Iterable[Any]) -> dict[str, Any]:
    return {f"{measure}{part}": value for part, value in zip(parts, values, strict=True)}


def _measure_columns(record: Record, measure: str, found: MeasuredValue) -> dict[str, Any]:
    score = record.metrics.get(metric_of(measure))
    if score is None:
        return {}
    numbers = {"": found.value, "_low": found.low, "_high": found.high}
    details = {} if measure in OF_PSNR else {f"_{name}": score.details.get(name) for name in ("median", "p05", "truth")}
    return {f"{measure}{part}": value for part, value in {**numbers, **details}.items()}
