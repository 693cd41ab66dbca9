"""Which solvers of a column can be told apart: the best, those tied with it, and every solver's range of ranks.

A column holds the solvers of one model, guidance scale, seed and NFE. All of its pairs are compared at once, so that the
statement that the best is better also holds for a best that is chosen after looking.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnsbench.report.measures import direction_of, evidence, figure, metric_of, pairs
from bnsbench.statistics import separations
from bnsbench.suite.record import Record

ROUNDING = 1e-6
"""Relative differences up to this are no lead over the ground truth."""


@dataclass(frozen=True)
class Standing:
    """Where a solver stands in its column.

    word: "best", "tied" for one that cannot be told from the best, or "". rank_low, rank_high: 1 + how many are better for
    certain, and how many are not worse for certain; None where nothing can be ranked.
    """

    word: str = ""
    rank_low: int | None = None
    rank_high: int | None = None


def standings(records: Sequence[Record], measure: str) -> list[Standing]:
    """Return every record's standing.

    Nobody stands anywhere where nothing can be compared, and nowhere in a field in which a solver is better than the ground
    truth itself: there, better values of the measure do not mean more accurate solutions.
    """
    found = [Standing()] * len(records)
    for field in _groups(records, measure):
        members = [records[index] for index in field]
        direction = direction_of(members, measure)
        if any(better(figure(record, measure).value, _truth(record, measure), direction) for record in members):
            continue
        for column in _columns(field, records):
            for index, standing in zip(column, _column([records[index] for index in column], measure), strict=True):
                found[index] = standing
    return found


def better(value: float | None, truth: float | None, direction: str) -> bool:
    """Whether a value is better than the ground truth's own, beyond rounding; not so where either has none."""
    if value is None or truth is None or math.isclose(value, truth, rel_tol=ROUNDING):
        return False
    return value > truth if direction == "higher" else value < truth


def _truth(record: Record, measure: str) -> float | None:
    score = record.metrics.get(measure)
    return None if score is None else score.details.get("truth")


def _groups(records: Sequence[Record], measure: str) -> Iterable[list[int]]:
    """Return the records of every field that have a value, by their places."""
    groups: dict[tuple[Any, ...], list[int]] = {}
    for index, record in enumerate(records):
        if record.status == "ok" and metric_of(measure) in record.metrics and figure(record, measure).value is not None:
            model = record.cell["model"]
            key = model["provider"], model["name"], record.cell["guidance"], record.cell["seed"]
            groups.setdefault(key, []).append(index)
    return groups.values()


def _columns(field: Sequence[int], records: Sequence[Record]) -> Iterable[list[int]]:
    columns: dict[int, list[int]] = {}
    for index in field:
        columns.setdefault(records[index].cell["nfe"], []).append(index)
    return columns.values()


def _column(records: Sequence[Record], measure: str) -> list[Standing]:
    """Return the standings of the solvers of a column, all of which have a value."""
    sign = 1.0 if direction_of(records, measure) == "higher" else -1.0
    values = [sign * (figure(record, measure).value or 0.0) for record in records]
    best = int(np.argmax(values))
    known = evidence(records[best], measure)
    if len(records) > 1 and known is None:
        return [Standing()] * len(records)
    above = _above(records, measure, known, sign)

    def word(k: int) -> str:
        if values[k] == values[best]:
            return "best"
        return "" if above[best, k] else "tied"

    below = len(records) - above.sum(axis=1)
    return [Standing(word(k), 1 + int(above[:, k].sum()), int(below[k])) for k in range(len(records))]


def _above(records: Sequence[Record], measure: str, known: tuple[str, int] | None, sign: float) -> NDArray[np.bool_]:
    """Return whether solver i is better than j for certain; those with other evidence than ``known`` are never."""
    above = np.zeros((len(records), len(records)), dtype=np.bool_)
    members = [k for k, record in enumerate(records) if evidence(record, measure) == known]
    if known is not None and len(members) > 1:
        found = separations(pairs([records[k] for k in members], measure), len(members))
        above[np.ix_(members, members)] = found if sign > 0 else found.T
    return above
