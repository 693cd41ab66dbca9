"""Standings of the solvers of a column: the best, those tied with it, and every solver's range of ranks.

A column holds the solvers of one model, guidance scale, seed and NFE. All of its pairs are compared at once, so that it may
be said of the best that it is better although it is known only from the same results.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnsbench.report.measures import column_of, compared_by, direction_of, field_of, paired_intervals, value_of
from bnsbench.statistics import separations
from bnsbench.suite.record import Record

ROUNDING = 1e-6
"""A value is better than the ground truth's if the relative difference is larger than this."""


@dataclass(frozen=True)
class Standing:
    """Where a solver stands in its column.

    word: "best", "tied" for one that is not significantly worse than the best, or "".
    rank_low: 1 + the number of solvers that are significantly better; None where nothing can be ranked.
    rank_high: the number of solvers, itself included, that are not significantly worse; None likewise.
    """

    word: str = ""
    rank_low: int | None = None
    rank_high: int | None = None


def standings(records: Sequence[Record], measure: str, values: Sequence[float | None] | None = None) -> list[Standing]:
    """Return every record's standing.

    It is empty where nothing can be compared, and in a whole field if a solver there is better than the ground truth itself:
    then better values of the measure do not mean more accurate solutions.

    Args:
        records: The records of a run.
        measure: A metric, "psnr_mse" or "psnr_p05".
        values: Of the measure for every record, where they are known already.
    """
    found = [Standing()] * len(records)
    direction = direction_of(records, measure)
    known = [value_of(record, measure) for record in records] if values is None else values
    values = [value if record.status == "ok" else None for record, value in zip(records, known, strict=True)]
    for field in _groups(records, values, field_of):
        if any(better(values[index], _truth(records[index], measure), direction) for index in field):
            continue
        for column in _groups(records, values, column_of, field):
            members = [records[index] for index in column]
            ordered = [(values[index] or 0.0) * (1.0 if direction == "higher" else -1.0) for index in column]
            for index, standing in zip(column, _column(members, ordered, measure, direction), strict=True):
                found[index] = standing
    return found


def better(value: float | None, truth: float | None, direction: str) -> bool:
    """Return whether a value is better than the ground truth's own by more than rounding; False where either is missing.

    Args:
        value: Of a solver's samples.
        truth: Of the ground-truth samples.
        direction: "higher" or "lower", whichever is better.
    """
    if value is None or truth is None or math.isclose(value, truth, rel_tol=ROUNDING):
        return False
    return value > truth if direction == "higher" else value < truth


def _truth(record: Record, measure: str) -> float | None:
    score = record.metrics.get(measure)
    return None if score is None else score.details.get("truth")


def _groups(
    records: Sequence[Record],
    values: Sequence[float | None],
    key: Callable[[Record], tuple[Any, ...]],
    among: Iterable[int] | None = None,
) -> Iterable[list[int]]:
    """Return the indices of the records that have a value, in groups of the same key."""
    groups: dict[tuple[Any, ...], list[int]] = {}
    for index in range(len(records)) if among is None else among:
        if values[index] is not None:
            groups.setdefault(key(records[index]), []).append(index)
    return groups.values()


def _column(records: Sequence[Record], values: Sequence[float], measure: str, direction: str) -> list[Standing]:
    """Return the standings of the solvers of a column, given their values, of which higher ones are better."""
    best = int(np.argmax(values))
    known = compared_by(records[best], measure)
    if len(records) > 1 and known is None:
        return [Standing()] * len(records)
    above = _above(records, measure, known, direction)

    def word(k: int) -> str:
        if values[k] == values[best]:
            return "best"
        return "" if above[best, k] else "tied"

    below = len(records) - above.sum(axis=1)
    return [Standing(word(k), 1 + int(above[:, k].sum()), int(below[k])) for k in range(len(records))]


def _above(records: Sequence[Record], measure: str, known: tuple[str, int] | None, direction: str) -> NDArray[np.bool_]:
    """Return whether solver i is significantly better than j; False for those that cannot be paired with the best."""
    above = np.zeros((len(records), len(records)), dtype=np.bool_)
    members = [k for k, record in enumerate(records) if compared_by(record, measure) == known]
    if known is not None and len(members) > 1:
        found = separations(paired_intervals([records[k] for k in members], measure), len(members))
        above[np.ix_(members, members)] = found if direction == "higher" else found.T
    return above
