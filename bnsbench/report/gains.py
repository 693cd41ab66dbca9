"""Gains of learned and distilled solvers over the best classic of their column, and over the best one that is not tuned.

The best classic is the one that is best in the measure at hand, of all that ran: plain ones and tuned ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bnsbench.report.kinds import CLASSIC, MADE, TUNED
from bnsbench.report.measures import column_of, direction_of, metric_of, paired_change, value_of
from bnsbench.suite.record import Record


@dataclass(frozen=True)
class Gain:
    """A lead in dB over a classic, with its paired 95 % interval where samples can be paired.

    over: the index of the best classic among the records. The interval is that of the difference to this one. It was chosen
        because it is the best here, which can only make the gain look smaller.
    untuned: the gain over the best classic on a plain grid, None if there is none.
    """

    over: int
    value: float
    low: float | None
    high: float | None
    untuned: float | None


def gains(
    records: Sequence[Record], kinds: Sequence[str], measure: str, values: Sequence[float | None] | None = None
) -> list[Gain | None]:
    """Return the gain of every learned or distilled solver; None for others, without a classic, and for what is not in dB.

    Args:
        records: The records of a run.
        kinds: Of their solvers, as `bnsbench.report.kinds.kinds` returns them.
        measure: A metric, "psnr_mse" or "psnr_p05".
        values: Of the measure for every record, where they are known already.
    """
    found: list[Gain | None] = [None] * len(records)
    if not _in_decibels(records, measure):
        return found
    known = [value_of(record, measure) for record in records] if values is None else values
    columns: dict[tuple[Any, ...], list[int]] = {}
    for index, record in enumerate(records):
        if record.status == "ok" and known[index] is not None:
            columns.setdefault(column_of(record), []).append(index)
    for column in columns.values():
        classics = [index for index in column if kinds[index] in (CLASSIC, TUNED)]
        for index in column:
            if classics and kinds[index] in MADE:
                plain = [each for each in classics if kinds[each] == CLASSIC]
                found[index] = _gain(records, known, index, classics, plain, measure)
    return found


def _gain(
    records: Sequence[Record],
    values: Sequence[float | None],
    learned: int,
    classics: Sequence[int],
    plain: Sequence[int],
    measure: str,
) -> Gain:
    """Return the gain of one record over those of the classics, all given by their indices."""

    def value(index: int) -> float:
        return values[index] or 0.0

    best = max(classics, key=value)
    untuned = value(learned) - max(map(value, plain)) if plain else None
    change = paired_change(records[best], records[learned], measure)
    if change is None:
        return Gain(best, value(learned) - value(best), None, None, untuned)
    return Gain(best, change.mean, change.low, change.high, untuned)


def _in_decibels(records: Sequence[Record], measure: str) -> bool:
    units = {record.metrics[name].unit for name in (metric_of(measure),) for record in records if name in record.metrics}
    return units == {"dB"} and direction_of(records, measure) == "higher"
