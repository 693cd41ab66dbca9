"""Comparison of two results folders: what has changed, gains over the best classic included, and whether significantly."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bnsbench.report.gains import leads
from bnsbench.report.judging import GAIN
from bnsbench.report.kinds import kinds
from bnsbench.report.leaderboard import component_names
from bnsbench.report.measures import OF_PSNR, direction_of, metric_of, paired_change, value_of, with_further
from bnsbench.statistics import PairedDifference, paired_difference
from bnsbench.suite.record import Record

COLUMNS = (
    *("model", "guidance", "solver", "nfe", "seed", "metric"),
    *("a", "b", "difference", "low", "high", "samples", "verdict"),
)

Identity = tuple[Any, ...]

ROUNDING = 1e-5
"""Relative differences up to this are those of another order of summation, not of another result."""


@dataclass(frozen=True)
class _Lead:
    """A learned solver's record, that of the best classic beside it, and the gain in a measure."""

    learned: Record
    over: Record
    gain: float

    def by_sample(self, measure: str) -> list[float]:
        """Return the lead on every sample that both have; none where the records hold no samples."""
        metric = metric_of(measure)
        pairs = zip(self.learned.per_sample.get(metric, ()), self.over.per_sample.get(metric, ()), strict=False)
        return [learned - over for learned, over in pairs]


def compare(a: Iterable[Record], b: Iterable[Record]) -> pd.DataFrame:
    """Return one row for every measure of a cell that differs between two sets of records beyond ROUNDING, in ``a``'s order.

    The measures are the metrics and, after PSNR, the decibels of the mean squared error and the 5 % quantile. The last rows
    are those of gains: how far learned solvers lead the best classic of their own results, plain or tuned, as MEASURE_gain.

    Args:
        a: Records of the first run.
        b: Records of the second.

    Returns:
        The columns a and b are the values; difference is b - a, with its paired 95 % interval (low, high) where both used
        the same noise; samples is how many were paired: if the numbers differ, the first ones, which both have. Each
        interval is for its cell alone, so 5 % of equal cells have one that excludes 0. The verdict is "better" or "worse"
        where the interval excludes 0, "within noise" where it does not, "changed" where nothing can be paired, "only in A",
        "only in B", or the change of status.
    """
    before, after = list(a), list(b)
    identities = iter(_identities([*before, *after]))
    first, second = ({next(identities): record for record in records} for records in (before, after))
    rows = [row for identity in {**first, **second} for row in _rows(identity, first.get(identity), second.get(identity))]
    rows += [row for measure in _measures([*before, *after]) for row in _gain_rows(first, second, measure)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _identities(records: Sequence[Record]) -> list[Identity]:
    named = zip(records, component_names(records, "model"), component_names(records, "solver"), strict=True)
    return [(model, each.cell["guidance"], solver, each.cell["nfe"], each.cell["seed"]) for each, model, solver in named]


def _rows(identity: Identity, a: Record | None, b: Record | None) -> Iterator[dict[str, Any]]:
    base = dict(zip(COLUMNS, identity, strict=False))
    if a is None or b is None:
        yield {**base, "verdict": "only in A" if b is None else "only in B"}
        return
    if a.status != b.status:
        yield {**base, "verdict": f"{a.status} -> {b.status}"}
    for measure in _measures([a, b]):
        change = _change(a, b, measure)
        if change is not None:
            yield {**base, "metric": measure, **change}


def _measures(records: Iterable[Record]) -> list[str]:
    return with_further(dict.fromkeys(name for record in records for name in record.metrics))


def _gain_rows(a: Mapping[Identity, Record], b: Mapping[Identity, Record], measure: str) -> Iterator[dict[str, Any]]:
    """Yield a row for every gain that is in both sets of records and differs."""
    before, after = (_leads(records, measure) for records in (a, b))
    for identity in before:
        change = _lead_change(before[identity], after[identity], measure) if identity in after else None
        if change is not None:
            yield {**dict(zip(COLUMNS, identity, strict=False)), "metric": f"{measure}{GAIN[0]}", **change}


def _leads(records: Mapping[Identity, Record], measure: str) -> dict[Identity, _Lead]:
    identities, content = list(records), list(records.values())
    found = {}
    for lead in leads(content, kinds(content), measure):
        learned, over = lead.places
        found[identities[learned]] = _Lead(content[learned], content[over], lead.value)
    return found


def _lead_change(before: _Lead, after: _Lead, measure: str) -> dict[str, Any] | None:
    """Return what changed in a lead, None if nothing did; that of a mean is judged sample by sample."""
    rounding = ROUNDING * abs(value_of(before.learned, measure) or 0.0)
    if math.isclose(before.gain, after.gain, rel_tol=ROUNDING, abs_tol=rounding):
        return None
    paired, common = None, None
    if measure not in OF_PSNR and _same_noise(before.learned, after.learned):
        first, second = (lead.by_sample(measure) for lead in (before, after))
        common = min(len(first), len(second))
        paired = paired_difference(first[:common], second[:common])
    return _judged(before.gain, after.gain, "higher", paired, common)


def unequal_counts(a: Iterable[Record], b: Iterable[Record]) -> str:
    """Return a sentence on the cells of which one side has more samples; "" if there are none."""
    before, after = list(a), list(b)
    identities = iter(_identities([*before, *after]))
    first, second = ({next(identities): record.cell["samples"] for record in records} for records in (before, after))
    pairs = {(first[each], second[each]) for each in first.keys() & second.keys() if first[each] != second[each]}
    if not pairs:
        return ""
    counts = ", ".join(f"{one:,} and {other:,}" for one, other in sorted(pairs))
    return (
        f"The numbers of samples differ ({counts}): a and b are over all of them, differences and intervals over the first"
        " ones, which start from the same noise in both; 'samples' says how many."
    )


def verdicts(frame: pd.DataFrame) -> str:
    """Return how many rows have which verdict, such as "3 better, 1 within noise"."""
    return ", ".join(f"{count} {verdict}" for verdict, count in frame["verdict"].value_counts(sort=False).items())


def _change(a: Record, b: Record, measure: str) -> dict[str, Any] | None:
    """Return what changed in a measure, None if nothing did."""
    before, after = (value_of(record, measure) for record in (a, b))
    if before is None or after is None:
        return (
            None if before == after else {"a": before, "b": after, "verdict": "only in A" if after is None else "only in B"}
        )
    if math.isclose(before, after, rel_tol=ROUNDING):
        return None
    paired = paired_change(a, b, measure) if _same_noise(a, b) else None
    return _judged(before, after, direction_of([a], measure), paired, _common(a, b, measure))


def _common(a: Record, b: Record, measure: str) -> int:
    """Return how many samples of a measure can be paired; replicates are over all of them."""
    counts = [len(record.per_sample.get(metric_of(measure), ())) for record in (a, b)]
    return min(counts) if min(counts) > 1 else int(a.cell["samples"])


def _judged(
    before: float, after: float, direction: str, paired: PairedDifference | None, samples: int | None
) -> dict[str, Any]:
    change: dict[str, Any] = {"a": before, "b": after, "difference": after - before}
    if paired is None:
        return {**change, "verdict": "changed"}
    verdict = "better" if (paired.mean > 0) == (direction == "higher") else "worse"
    interval = {"difference": paired.mean, "low": paired.low, "high": paired.high, "samples": samples}
    return {**change, **interval, "verdict": verdict if paired.separable else "within noise"}


def _same_noise(a: Record, b: Record) -> bool:
    """Whether sample k of both started from the same noise and was to end in the same place.

    The noise of a sample depends on the model's name, the suite's seed and the sample's number alone; the same model, by its
    component and the fingerprint of its weights, under the same guidance takes it to the same end.
    """
    return (
        a.cell["model"] == b.cell["model"]
        and a.cell["seed"] == b.cell["seed"]
        and a.cell["guidance"] == b.cell["guidance"]
        and a.model.get("fingerprint") == b.model.get("fingerprint")
    )
