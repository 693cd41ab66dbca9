"""Columns: the solvers of one model, guidance scale, seed and NFE, which are compared with each other in one measure."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnsbench.report.measures import (
    OF_PSNR,
    column_of,
    compared_by,
    direction_of,
    paired_change,
    paired_intervals,
    sample_count,
    value_in,
    value_of,
)
from bnsbench.statistics import CONFIDENCE, Ends, PairedDifference, separations
from bnsbench.suite.record import Record


class Column:
    """The records of one column that have a value in a measure.

    places: where they lie among all records. records, values: theirs. direction: "higher" or "lower", whichever is better.
    """

    def __init__(
        self, places: Sequence[int], records: Sequence[Record], values: Sequence[float], measure: str, direction: str
    ) -> None:
        self.places, self.records, self.values = places, records, values
        self.measure, self.direction = measure, direction
        self._together: dict[tuple[str, int], _Together] = {}

    @cached_property
    def best(self) -> int:
        """The number of the first record with the best value."""
        return int(np.argmax(self.values) if self.direction == "higher" else np.argmin(self.values))

    @cached_property
    def _compared_by(self) -> list[tuple[str, int] | None]:
        return [compared_by(record, self.measure) for record in self.records]

    @property
    def comparable(self) -> bool:
        """Whether the best can be compared with others, if there are any."""
        return len(self.records) == 1 or self._compared_by[self.best] is not None

    def above(self) -> NDArray[np.bool_]:
        """Return whether record i is significantly better than j; False for those that cannot be paired with the best."""
        found = np.zeros((len(self.records), len(self.records)), dtype=np.bool_)
        known = self._compared_by[self.best]
        if known is not None and len(found) > 1:
            group = self._group(known)
            members = [*group.members]
            separated = separations(group.pairs, len(members)) if len(members) > 1 else np.zeros((1, 1), dtype=np.bool_)
            found[np.ix_(members, members)] = separated if self.direction == "higher" else separated.T
        return found

    def difference(self, a: int, b: int) -> PairedDifference | None:
        """Return the difference of record b to a over the same samples; None where nothing can be paired.

        It is that of `bnsbench.report.measures.paired_change`, from what all pairs of the column have in common.
        """
        known = self._compared_by[a]
        if known is None or known != self._compared_by[b] or sample_count(self.records[a]) != sample_count(self.records[b]):
            return paired_change(self.records[a], self.records[b], self.measure)
        return self._group(known).difference(a, b)

    def _group(self, known: tuple[str, int]) -> _Together:
        if known not in self._together:
            members = [k for k, each in enumerate(self._compared_by) if each == known]
            self._together[known] = _Together(members, self)
        return self._together[known]


class _Together:
    """Records of a column that can be paired with each other, by their numbers in the column."""

    def __init__(self, members: Sequence[int], column: Column) -> None:
        self.members = {member: k for k, member in enumerate(members)}
        self.pairs = paired_intervals([column.records[k] for k in members], column.measure)
        self._column = column

    @cached_property
    def _figures(self) -> list[float]:
        if self._column.measure in OF_PSNR:
            return [self._column.values[k] for k in self.members]
        return [value_in(self._column.records[k], self._column.measure) for k in self.members]

    @cached_property
    def _ends(self) -> Ends:
        return self.pairs(CONFIDENCE)

    def difference(self, a: int, b: int) -> PairedDifference:
        i, j = self.members[a], self.members[b]
        first, second = min(i, j), max(i, j)
        # The place of the pair (i, j) in the order of numpy.triu_indices.
        place = first * len(self.members) - first * (first + 1) // 2 + second - first - 1
        low, high = (float(end[place]) for end in self._ends)
        mean = self._figures[j] - self._figures[i]
        return PairedDifference(mean, low, high) if i < j else PairedDifference(mean, -high, -low)


def columns(records: Sequence[Record], measure: str, values: Sequence[float | None] | None = None) -> list[Column]:
    """Return the columns of those records that went well and have a value, in the order of their first ones.

    Args:
        records: The records of a run.
        measure: A metric, "psnr_mse" or "psnr_p05".
        values: Of the measure for every record, where they are known already.
    """
    known = [value_of(record, measure) for record in records] if values is None else values
    direction = direction_of(records, measure)
    groups: dict[tuple[Any, ...], list[int]] = {}
    for place, record in enumerate(records):
        if record.status == "ok" and known[place] is not None:
            groups.setdefault(column_of(record), []).append(place)
    return [
        Column(places, [records[k] for k in places], [known[k] or 0.0 for k in places], measure, direction)
        for places in groups.values()
    ]
