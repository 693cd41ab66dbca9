"""What a record must agree with, without running anything: its key, its solver file, its suite, and its own numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bnsbench.errors import BnsbenchError
from bnsbench.nonstationary.artefact import SolverArtefact
from bnsbench.report.measures import PSNR
from bnsbench.statistics import mean_interval
from bnsbench.storage.plain_data import as_plain_data, digest
from bnsbench.suite.plan import Cell
from bnsbench.suite.record import Record
from bnsbench.suite.store import ResultStore
from bnsbench.suite.trained import mismatch, solver_key

BY_PHASE = ("spent", "network")
"""Entries of a record's seconds that hold seconds by phase."""

ROUNDED = 1e-5
"""The share by which a mean of values that were rounded to six digits may differ from that of the values themselves."""

CURVE = 1e-3
"""Decibels by which a curve's rounded numbers may differ from the training's own."""


def key_faults(record: Record) -> Iterator[str]:
    """Yield a sentence if the key of a record is not that of its cell."""
    if not record.key.endswith(f"-{digest(record.cell)}"):
        yield f"The record {record.key} describes another cell than its key."


def solver_faults(record: Record, store: ResultStore) -> Iterator[str]:
    """Yield a sentence for everything in which a record and its solver file disagree, and the file with itself."""
    name = record.solver.get("file")
    if name is None:
        return
    file = store.solvers / str(name)
    if "/" in str(name) or "\\" in str(name):
        yield f"The record {record.key} names a solver file outside of the folder: {name!r}."
        return
    try:
        artefact = SolverArtefact.load(file)
    except BnsbenchError as error:
        yield str(error)
        return
    yield from _foreign_solver(file, artefact, record)
    for what in _repeated(artefact.training, record):
        yield f"The solver file {file} and {record.key} disagree on {what}."
    for what in _training_faults(artefact.training):
        yield f"The training record in {file} contradicts itself: {what}."


def _foreign_solver(file: Path, artefact: SolverArtefact, record: Record) -> Iterator[str]:
    """Yield a sentence for everything in which a solver file is not that of a record's cell."""
    if artefact.solver.fingerprint() != record.solver.get("fingerprint"):
        yield f"The solver file {file} holds other numbers than those that {record.key} was measured with."
    if artefact.fingerprint != record.model.get("fingerprint"):
        yield f"The solver file {file} was made for another model than {record.key}."
    other = mismatch(artefact, record.cell)
    if other:
        yield f"The solver file {file} of {record.key} was made for {other}."


def _repeated(training: Mapping[str, Any], record: Record) -> Iterator[str]:
    """Yield what a record repeats of its solver's training, but not as it is there."""
    said, forwards = record.solver, as_plain_data(training.get("forwards", {}))
    seconds = round(float(training.get("seconds") or 0.0), 3)
    for what, is_said, there in (
        ("whether the package brought it", record.shipped, bool(training.get("shipped"))),
        ("the forwards of training", record.train_forwards, sum(forwards.values())),
        ("the purposes of these forwards", said.get("forwards", forwards), forwards),
        ("the grid of its table", said.get("grid", ""), str(training.get("grid", ""))),
        ("the rule of its table", said.get("rule", ""), str(training.get("rule", ""))),
        ("the validation PSNR", said.get("psnr"), as_plain_data(training.get("psnr"))),
        ("the seconds of training", record.seconds.get("training", seconds), seconds),
    ):
        if is_said != there:
            yield what


def _training_faults(training: Mapping[str, Any]) -> Iterator[str]:
    """Yield what contradicts itself in the record of a training: costs below zero, or a curve that does not fit."""
    forwards = training.get("forwards", {})
    own = training.get("own_forwards", forwards)
    if any(count < 0 for count in (*forwards.values(), *own.values())):
        yield "it has spent less than nothing"
    if any(own.get(purpose, 0) > forwards.get(purpose, 0) for purpose in own):
        yield "this rung alone has spent more than all rungs together"
    curve = training.get("curve") or ()
    spent = [point["evaluations"] for point in curve]
    if spent != sorted(spent):
        yield "its curve goes back in evaluations"
    if spent and "spent" in training and spent[-1] > training["spent"]["training"]:
        yield "its curve has more evaluations than the training has spent"
    psnrs = [point["psnr"] for point in curve if point.get("psnr") is not None]
    said = training.get("psnr")
    if psnrs and (said is None or min(abs(said - psnr) for psnr in psnrs) > CURVE):
        yield f"its validation PSNR of {said} dB is not on its curve"


def suite_faults(record: Record, cell: Cell) -> Iterator[str]:
    """Yield a sentence for everything that a record of any status says otherwise than the cell of the suite."""
    for metric in cell.metrics:
        score = record.metrics.get(metric.shown)
        for what in ("direction", "unit") if score is not None else ():
            if getattr(score, what) != getattr(metric, what):
                yield (
                    f"{record.key}: the record says that the {what} of {metric.shown} is {getattr(score, what)!r}, but it is"
                    f" {getattr(metric, what)!r}."
                )
    if record.status == "ok" and record.nfe != cell.nfe:
        yield f"{record.key}: the record says nfe {record.nfe}, but the cell has {cell.nfe}."
    name = record.solver.get("file")
    if cell.trained and record.status == "ok" and name != f"{solver_key(cell)}.json":
        yield f"{record.key}: its solver is in {solver_key(cell)}.json, but the record names {name}."


def contradictions(record: Record) -> Iterator[str]:
    """Yield a sentence for numbers of a record that cannot be true together.

    A metric with values by sample is their mean, so that value, and for PSNR interval, median and quantile, follow.
    """
    name = record.key
    if record.status == "ok" and record.reason:
        yield f"{name}: the record says ok and gives a reason against it: {record.reason}."
    for metric in (*record.per_sample, *record.replicates):
        if metric not in record.metrics:
            yield f"{name}: the record has values of {metric} by sample or replicate, but no value of it."
    for metric, values in record.per_sample.items():
        if metric in record.metrics and values and all(value is not None for value in values):
            yield from _not_the_samples(record, metric, values)
    yield from _impossible_seconds(record)


def _not_the_samples(record: Record, metric: str, values: Sequence[float]) -> Iterator[str]:
    """Yield what a score says otherwise than its values by sample."""
    score = record.metrics[metric]
    true: dict[str, float | None] = {"value": sum(values) / len(values), "n": float(len(values))}
    if metric == PSNR:
        low, high = mean_interval(values)
        median, worst = (float(each) for each in np.quantile(values, (0.5, 0.05)))
        true |= {"low": low, "high": high, "median": median, "p05": worst}
    allowed = ROUNDED * max(map(abs, values))
    said = {"value": score.value, "low": score.low, "high": score.high, **score.details}
    for what, number in true.items():
        is_said = said.get(what)
        if is_said is not None and number is not None and not abs(is_said - number) <= allowed:
            yield f"{record.key}: {what} of {metric} is {number:.6g} by its samples, but the record says {is_said:.6g}."
    if len(values) != record.cell["samples"]:
        yield f"{record.key}: there are {len(values)} values of {metric} for {record.cell['samples']} samples."


def _impossible_seconds(record: Record) -> Iterator[str]:
    seconds: Mapping[str, Any] = record.seconds
    single = {what: value for what, value in seconds.items() if what not in BY_PHASE}
    by_phase = {f"{phase} ({what})": value for what in BY_PHASE for phase, value in seconds.get(what, {}).items()}
    for what, value in (single | by_phase).items():
        if not (math.isfinite(value) and value >= 0):
            yield f"{record.key}: {what} cannot have taken {value} seconds."
    sampling = seconds.get("sampling", 0.0) * record.cell["samples"]
    if sampling > seconds.get("total", math.inf) + 0.01:
        yield f"{record.key}: sampling took {sampling:.3g} seconds, more than the cell of {seconds['total']:g} in total."
