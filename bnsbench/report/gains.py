"""Gains of learned and distilled solvers over the best classic of their column, and over the best one that is not tuned.

The best classic is the one that is best in the measure at hand, of all that ran: plain ones and tuned ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bnsbench.report.columns import Column, columns
from bnsbench.report.kinds import CLASSIC, MADE, TUNED
from bnsbench.report.measures import direction_of, metric_of
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


@dataclass(frozen=True)
class Lead:
    """A learned or distilled solver in its column, its lead in dB over the best classic there, and its place; see `Gain`."""

    column: Column
    solver: int
    over: int
    plain: Sequence[int]

    @property
    def places(self) -> tuple[int, int]:
        """The indices of the solver and of the best classic among all records."""
        return self.column.places[self.solver], self.column.places[self.over]

    @property
    def value(self) -> float:
        """The difference of the two values."""
        return self.column.values[self.solver] - self.column.values[self.over]

    def gain(self) -> Gain:
        """Return the lead with its interval."""
        values = self.column.values
        untuned = values[self.solver] - max(values[k] for k in self.plain) if self.plain else None
        change = self.column.difference(self.over, self.solver)
        if change is None:
            return Gain(self.places[1], self.value, None, None, untuned)
        return Gain(self.places[1], change.mean, change.low, change.high, untuned)


def gains(
    records: Sequence[Record], kinds: Sequence[str], measure: str, compared: Sequence[Column] | None = None
) -> list[Gain | None]:
    """Return the gain of every learned or distilled solver; None for others, without a classic, and for what is not in dB.

    Args:
        records: The records of a run.
        kinds: Of their solvers, as `bnsbench.report.kinds.kinds` returns them.
        measure: A metric, "psnr_mse" or "psnr_p05".
        compared: Their columns in this measure, where they are known already.
    """
    found: list[Gain | None] = [None] * len(records)
    for lead in leads(records, kinds, measure, compared):
        found[lead.places[0]] = lead.gain()
    return found


def leads(
    records: Sequence[Record], kinds: Sequence[str], measure: str, compared: Sequence[Column] | None = None
) -> Iterator[Lead]:
    """Yield the leads of the learned and distilled solvers that `gains` gives intervals; arguments are the same."""
    if not _in_decibels(records, measure):
        return
    for column in columns(records, measure) if compared is None else compared:
        kind = [kinds[place] for place in column.places]
        plain = [k for k, each in enumerate(kind) if each == CLASSIC]
        classics = [k for k, each in enumerate(kind) if each in (CLASSIC, TUNED)]
        if classics:
            best = max(classics, key=column.values.__getitem__)
            yield from (Lead(column, k, best, plain) for k, each in enumerate(kind) if each in MADE)


def _in_decibels(records: Sequence[Record], measure: str) -> bool:
    units = {record.metrics[name].unit for name in (metric_of(measure),) for record in records if name in record.metrics}
    return units == {"dB"} and direction_of(records, measure) == "higher"
