"""Standings of the solvers of a column: the best, those tied with it, and every solver's range of ranks.

A column holds the solvers of one model, guidance scale, seed and NFE. All of its pairs are compared at once, so that it may
be said of the best that it is better although it is known only from the same results.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bnsbench.report.columns import Column, columns
from bnsbench.report.measures import field_of
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


def standings(records: Sequence[Record], measure: str, compared: Sequence[Column] | None = None) -> list[Standing]:
    """Return every record's standing.

    It is empty where nothing can be compared, and in a whole field if a solver there is better than the ground truth itself:
    then better values of the measure do not mean more accurate solutions.

    Args:
        records: The records of a run.
        measure: A metric, "psnr_mse" or "psnr_p05".
        compared: Their columns in this measure, where they are known already.
    """
    found = [Standing()] * len(records)
    fields: dict[tuple[Any, ...], list[Column]] = {}
    for column in columns(records, measure) if compared is None else compared:
        fields.setdefault(field_of(column.records[0]), []).append(column)
    for field in fields.values():
        if any(map(_beyond_the_truth, field)):
            continue
        for column in field:
            for place, standing in zip(column.places, _standings(column), strict=True):
                found[place] = standing
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


def _beyond_the_truth(column: Column) -> bool:
    """Whether some solver of the column is better than the ground truth's own samples."""
    rows = zip(column.records, column.values, strict=True)
    return any(better(value, _truth(record, column.measure), column.direction) for record, value in rows)


def _truth(record: Record, measure: str) -> float | None:
    score = record.metrics.get(measure)
    return None if score is None else score.details.get("truth")


def _standings(column: Column) -> list[Standing]:
    """Return the standings of the solvers of a column."""
    if not column.comparable:
        return [Standing()] * len(column.records)
    above, best = column.above(), column.best

    def word(k: int) -> str:
        if column.values[k] == column.values[best]:
            return "best"
        return "" if above[best, k] else "tied"

    better_ones, not_worse = above.sum(axis=0), len(above) - above.sum(axis=1)
    return [Standing(word(k), 1 + int(better_ones[k]), int(not_worse[k])) for k in range(len(above))]
