"""What the values by sample of records say, field by field: measures with intervals, standings, and gains.

A field holds the cells of one model, guidance scale and seed; none is compared with those of another. The values by sample
of a field are read, used and forgotten, and fields are shared out among the cores where there are many.
"""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from bnsbench.process.assistants import in_parts
from bnsbench.process.cpu import collection_paused
from bnsbench.report.columns import columns
from bnsbench.report.gains import Gain, gains
from bnsbench.report.kinds import kinds
from bnsbench.report.measures import (
    OF_PSNR,
    MeasuredValue,
    field_of,
    measured_values,
    metric_names,
    metric_of,
    with_further,
)
from bnsbench.report.standings import Standing, standings
from bnsbench.report.versions import settle
from bnsbench.suite.record import Record
from bnsbench.suite.store import ResultStore

STANDING, RANKS = "_standing", ("_rank_low", "_rank_high")
GAIN = ("_gain", "_gain_low", "_gain_high", "_gain_untuned", "_gain_over")
PARTS = ("", "_low", "_high", "_median", "_p05", "_truth", STANDING, *RANKS, *GAIN)
"""Ends of the names of a measure's entries: its value, interval, median and 5 % quantile, the ground truth's own value, the
standing and the range of ranks (see `bnsbench.report.standings.Standing`); for learned solvers and measures in dB the gain
over the best classic, its interval, the gain over the best untuned one, and the key of that best classic (see
`bnsbench.report.gains.Gain`).
"""

Entries = dict[str, list[Any]]
"""Entries of measures, by the measure's name and one of PARTS: a value for every record, NaN or None where there is none."""

MANY = 4000
"""Cells from which on other processes help: to start them takes as long as to read some hundreds."""

_KEY = re.compile(r"(.+?_w[0-9.e+-]+)_.+(_seed[0-9]+)-[0-9a-f]+")
"""Of a key that was not cut off: what it tells of the model and the guidance scale, and the seed."""


@dataclass(frozen=True)
class Judged:
    """Records, without their values by sample if they come from files, and the judgements on them."""

    records: Sequence[Record]
    judgements: Entries


def judge(records: Sequence[Record]) -> Judged:
    """Return the judgements on records that hold their values by sample."""
    found: Entries = {}
    for places in _fields(records).values():
        _put(found, len(records), places, _judgements([_packed(records[k]) for k in places]))
    return Judged(records, found)


def judge_folder(store: ResultStore) -> tuple[Judged, list[str]]:
    """Return the records of a results folder with the judgements on them, and a sentence on each that does not count.

    Records are settled, see `bnsbench.report.versions.settle`. In place of a damaged one there is a failed one.
    """
    keys, damaged = store.kept()
    parts = _parts(keys)
    with collection_paused():
        heads, found = _judge_parts(store, keys, parts)
        settled, notes = settle(heads, store.versions())
    for places in _judged_amiss(heads, settled, parts):
        for column in found.values():
            for place in places:
                column[place] = math.nan
        _put(found, len(heads), places, judge([_with_values(store, settled[place]) for place in places]).judgements)
    return Judged(settled, found), [*([damaged] if damaged else []), *notes]


def _judge_parts(store: ResultStore, keys: Sequence[str], parts: Sequence[Sequence[str]]) -> tuple[list[Record], Entries]:
    """Return the records of the parts, in the order of all keys, and the judgements on each part by itself."""
    judged = list(in_parts(_judge_part, [(store, part) for part in parts], None if len(keys) >= MANY else 1))
    heads = {record.key: record for part in judged for record in part.records}
    there = [key for key in keys if key in heads]
    place_of = {key: place for place, key in enumerate(there)}
    found: Entries = {}
    for part in judged:
        _put(found, len(there), [place_of[record.key] for record in part.records], part.judgements)
    return [heads[key] for key in there], found


def _put(found: Entries, length: int, places: Sequence[int], columns: Entries) -> None:
    """Put the columns of some records into those of all, of which there are so many."""
    for name, values in columns.items():
        column = found.get(name) or found.setdefault(name, [math.nan] * length)
        for place, value in zip(places, values, strict=True):
            column[place] = value


def _parts(keys: Iterable[str]) -> list[list[str]]:
    """Return the keys in parts that hold whole fields, as far as keys tell their fields."""
    parts: dict[tuple[str, ...], list[str]] = {}
    for key in keys:
        told = _KEY.fullmatch(key)
        parts.setdefault(told.groups() if told else (), []).append(key)
    return list(parts.values())


def _judge_part(part: tuple[ResultStore, Sequence[str]]) -> Judged:
    """Return the judgements on the records of those keys, before they are settled, and the records without values."""
    store, keys = part
    judged = judge(list(store.records(keys)))
    return Judged([replace(record, per_sample={}, replicates={}) for record in judged.records], judged.judgements)


def _judged_amiss(
    heads: Sequence[Record], settled: Sequence[Record], parts: Iterable[Iterable[str]]
) -> Iterator[Sequence[int]]:
    """Yield the places of fields in which settling has changed a record, or which lay in several parts."""
    part_of = {key: number for number, part in enumerate(parts) for key in part}
    for places in _fields(heads).values():
        torn = len({part_of[heads[place].key] for place in places}) > 1
        if torn or any(settled[place] is not heads[place] for place in places):
            yield places


def _with_values(store: ResultStore, record: Record) -> Record:
    """Return a settled record with those of its values by sample that have remained."""
    whole = next(store.records([record.key]), record)
    return replace(
        record, per_sample=_of_metrics(whole.per_sample, record), replicates=_of_metrics(whole.replicates, record)
    )


def _of_metrics(values: Mapping[str, Sequence[float]], record: Record) -> dict[str, Sequence[float]]:
    """Return the rows of metrics that the record has."""
    return {metric: row for metric, row in values.items() if metric in record.metrics}


def _fields(records: Sequence[Record]) -> dict[tuple[Any, ...], list[int]]:
    """Return the places of the records of every field."""
    found: dict[tuple[Any, ...], list[int]] = {}
    for place, record in enumerate(records):
        found.setdefault(field_of(record), []).append(place)
    return found


def _packed(record: Record) -> Record:
    """Return a record whose values by sample lie as numpy takes them without a copy, which many measures do."""
    return replace(record, per_sample={name: _row(values) for name, values in record.per_sample.items()})


def _row(values: Sequence[float]) -> Sequence[float]:
    if isinstance(values, list | tuple):
        with suppress(TypeError):  # made by hand, of something else than numbers
            return array("d", values)
    return values


def _judgements(records: Sequence[Record]) -> Entries:
    """Return the judgements on all records of a field."""
    found: Entries = {}
    for measure in with_further(metric_names(records)):
        measured = measured_values(records, measure)
        compared = columns(records, measure, [each.value for each in measured])
        found |= _of_values(records, measure, measured)
        found |= _of_standings(measure, standings(records, measure, compared))
        found |= _of_gains(records, measure, gains(records, kinds(records), measure, compared))
    return found


def _of_values(records: Sequence[Record], measure: str, found: Sequence[MeasuredValue]) -> Entries:
    numbers = [[each.value for each in found], [each.low for each in found], [each.high for each in found]]
    scores = [None if measure in OF_PSNR else record.metrics.get(metric_of(measure)) for record in records]
    details = [[score and score.details.get(name) for score in scores] for name in ("median", "p05", "truth")]
    return _named(measure, ("", "_low", "_high", "_median", "_p05", "_truth"), [*numbers, *details])


def _of_standings(measure: str, found: Sequence[Standing]) -> Entries:
    ranks = [[each.rank_low for each in found], [each.rank_high for each in found]]
    return _named(measure, (STANDING, *RANKS), [[each.word for each in found], *ranks])


def _of_gains(records: Sequence[Record], measure: str, found: Sequence[Gain | None]) -> Entries:
    if not any(found):
        return {}
    numbers = [[each and getattr(each, name) for each in found] for name in ("value", "low", "high", "untuned")]
    return _named(measure, GAIN, [*numbers, [each and records[each.over].key for each in found]])


def _named(measure: str, parts: Iterable[str], values: Iterable[list[Any]]) -> Entries:
    return {f"{measure}{part}": column for part, column in zip(parts, values, strict=True)}
