"""The measures by which solvers are compared: metrics as recorded, and two further measures of the PSNRs of single samples.

The mean of decibels depends most on the best samples. ``psnr_mse``, the decibels of the mean squared error, depends most on
the worst, and ``psnr_p05`` is the PSNR that 5 % of the samples do not reach.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from bnsbench.statistics import (
    Floats,
    PairedDifference,
    PairIntervals,
    decibels_of_mean,
    decibels_of_mean_interval,
    decibels_of_mean_intervals,
    decibels_of_mean_pairs,
    decibels_of_means,
    difference,
    mean_pairs,
    quantile,
    quantile_interval,
    quantile_pairs,
    replicate_interval,
    replicate_pairs,
)
from bnsbench.suite.record import Record

PSNR, PSNR_MSE, PSNR_P05 = "psnr", "psnr_mse", "psnr_p05"
OF_PSNR = (PSNR_MSE, PSNR_P05)

WORST = 0.05
"""The share of samples that may be worse than ``psnr_p05``."""

TOGETHER = 64
"""Records of which a measure is computed at once."""


@dataclass(frozen=True)
class MeasuredValue:
    """A measure's value and its 95 % interval, None where there is none."""

    value: float | None
    low: float | None = None
    high: float | None = None


def field_of(record: Record) -> tuple[Any, ...]:
    """Return the model, guidance scale and seed of a record, which solvers must share to be comparable, as with the NFE."""
    model = record.cell["model"]
    return model["provider"], model["name"], record.cell["guidance"], record.cell["seed"]


def column_of(record: Record) -> tuple[Any, ...]:
    """Return the field of a record and its NFE: solvers of one column are compared with each other."""
    return (*field_of(record), record.cell["nfe"])


def metric_of(measure: str) -> str:
    """Return the metric from which a measure is computed."""
    return PSNR if measure in OF_PSNR else measure


def metric_names(records: Iterable[Record]) -> list[str]:
    """Return the metrics of the records: PSNR first, then as they come."""
    names = dict.fromkeys(name for record in records for name in record.metrics)
    return sorted(names, key=lambda name: name != PSNR)


def with_further(metrics: Iterable[str]) -> list[str]:
    """Return the metrics, PSNR followed by its two further measures."""
    return [name for metric in metrics for name in ([metric, *OF_PSNR] if metric == PSNR else [metric])]


def direction_of(records: Iterable[Record], measure: str) -> Literal["higher", "lower"]:
    """Return which values of the measure are better; "higher" where no record has it."""
    metric = metric_of(measure)
    return next((record.metrics[metric].direction for record in records if metric in record.metrics), "higher")


def value_of(record: Record, measure: str) -> float | None:
    """Return the value of the measure of a record, None if it has none."""
    score = record.metrics.get(metric_of(measure))
    if score is None or score.value is None:
        return None
    samples = record.per_sample.get(metric_of(measure), ()) if measure in OF_PSNR else ()
    if samples:
        return _value(np.asarray(samples, dtype=np.float64), measure)
    return {PSNR_MSE: None, PSNR_P05: score.details.get("p05")}.get(measure, score.value)


def value_in(record: Record, measure: str) -> float:
    """Return the value of a measure as its samples give it, or as recorded where there are none; 0 if it has none."""
    samples = np.asarray(_samples_of(record, measure), dtype=np.float64)
    return _value(samples, measure) if len(samples) > 1 else value_of(record, measure) or 0.0


def measured_value(record: Record, measure: str) -> MeasuredValue:
    """Return the measure of a record with its interval."""
    value = value_of(record, measure)
    score, samples = record.metrics.get(metric_of(measure)), record.per_sample.get(metric_of(measure), ())
    if score is None or value is None:
        return MeasuredValue(None)
    if measure in OF_PSNR:
        ends = decibels_of_mean_interval(samples) if measure == PSNR_MSE else quantile_interval(samples, WORST)
        return MeasuredValue(value, *ends)
    if score.low is None and len(replicates := _replicates(record, measure)) > 1:
        return MeasuredValue(value, *replicate_interval(value, replicates))
    return MeasuredValue(value, score.low, score.high)


def measured_values(records: Sequence[Record], measure: str) -> list[MeasuredValue]:
    """Return `measured_value` of every record; those with as many samples are computed together."""
    if measure not in OF_PSNR:
        return [measured_value(record, measure) for record in records]
    found = [MeasuredValue(None)] * len(records)
    groups: dict[int, list[int]] = {}
    for index, record in enumerate(records):
        groups.setdefault(len(_samples_of(record, measure)), []).append(index)
    for n, members in groups.items():
        for start in range(0, len(members), TOGETHER):
            part = members[start : start + TOGETHER]
            of_part = [measured_value(records[index], measure) for index in part] if n < 2 else []
            for index, value in zip(part, of_part or _of_psnr([records[index] for index in part], measure), strict=True):
                found[index] = value
    return found


def _of_psnr(records: Sequence[Record], measure: str) -> list[MeasuredValue]:
    """Return a further measure of PSNR for records with equally many samples, two or more."""
    known = [record.metrics.get(PSNR) for record in records]
    values = _columns(records, measure)
    if measure == PSNR_MSE:
        ends = [[float(end) for end in ends] for ends in decibels_of_mean_intervals(values)]
        figures = decibels_of_means(values)
    else:
        ends = list(map(list, zip(*(quantile_interval(column, WORST) for column in values.T), strict=True)))
        figures = quantile(values, WORST)
    rows = zip(known, figures, *ends, strict=True)
    return [
        MeasuredValue(None) if score is None or score.value is None else MeasuredValue(float(value), low, high)
        for score, value, low, high in rows
    ]


def compared_by(record: Record, measure: str) -> tuple[str, int] | None:
    """Return what pairs a measure of this record with others: ("samples" or "replicates", their number); None if nothing.

    Records of one field with the same answer have values of the same samples, or replicates over the same resamples.
    """
    samples, replicates = record.per_sample.get(metric_of(measure), ()), _replicates(record, measure)
    if len(samples) > 1:
        return "samples", len(samples)
    return ("replicates", len(replicates)) if len(replicates) > 1 else None


def paired_intervals(records: Sequence[Record], measure: str) -> PairIntervals:
    """Return the paired differences of records that have the same `compared_by`."""
    first = compared_by(records[0], measure)
    if first is not None and first[0] == "replicates":
        values = np.array([value_of(record, measure) for record in records], dtype=np.float64)
        return replicate_pairs(values, np.array([_replicates(record, measure) for record in records], dtype=np.float64).T)
    return _of_samples(_columns(records, measure), measure)


def _columns(records: Sequence[Record], measure: str) -> Floats:
    """Return the values by sample [n, k] of records that have equally many."""
    return np.array([np.asarray(_samples_of(record, measure), dtype=np.float64) for record in records]).T


def _samples_of(record: Record, measure: str) -> Sequence[float]:
    return record.per_sample.get(metric_of(measure), ())


def paired_change(a: Record, b: Record, measure: str) -> PairedDifference | None:
    """Return the difference b - a of a measure over the samples that both records have; None where nothing can be paired.

    Args:
        a: A record.
        b: Another, whose samples started from the same noise; the caller has to see to that. Where one record has more
            samples than the other, its first ones are compared.
        measure: A metric, "psnr_mse" or "psnr_p05".
    """
    found = [_samples_of(record, measure) for record in (a, b)]
    common = min(map(len, found))
    if common > 1:
        values = np.array([samples[:common] for samples in found], dtype=np.float64).T
        return difference([_value(column, measure) for column in values.T], _of_samples(values, measure))
    known = compared_by(a, measure)
    if known is None or known[0] != "replicates" or known != compared_by(b, measure) or sample_count(a) != sample_count(b):
        return None
    return difference([value_of(record, measure) or 0.0 for record in (a, b)], paired_intervals([a, b], measure))


def _value(samples: Floats, measure: str) -> float:
    if measure == PSNR_MSE:
        return decibels_of_mean(samples)
    return float(quantile(samples, WORST)) if measure == PSNR_P05 else float(samples.mean())


def sample_count(record: Record) -> Any:
    """Return how many samples a record is over."""
    return record.cell["samples"]


def _of_samples(values: Floats, measure: str) -> PairIntervals:
    if measure == PSNR_MSE:
        return decibels_of_mean_pairs(values)
    return quantile_pairs(values, WORST) if measure == PSNR_P05 else mean_pairs(values)


def _replicates(record: Record, measure: str) -> Sequence[float]:
    """Return the bootstrap replicates of the measure; none if one of them has no value."""
    found = () if measure in OF_PSNR else record.replicates.get(measure, ())
    return () if any(value is None for value in found) else found
