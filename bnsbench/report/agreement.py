"""Comparison of a metric that was measured again with its record: the value, and every number that stands beside it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from bnsbench.suite.record import Record, Score

DECIBELS = {"float64": 0.05}
"""The allowed difference of a PSNR from the recorded one, by precision."""

DECIBELS_COARSE = 0.1
RELATIVE, ABSOLUTE = 0.01, 0.005
"""The allowed difference of any other metric from the recorded one."""

BESIDE = 3.0
"""The factor by which intervals and quantiles may differ more than the value itself: fewer samples decide them."""

CEILING_MARGIN = 10.0
"""Decibels below the ground truth's ceiling from which on PSNRs are not told apart: the truth's own error shows there."""

Number = float | None


def score_differences(recorded: Record, metric: str, before: Score, found: Record, why: str = "") -> Iterator[str]:
    """Yield a sentence for every difference of a metric's score from its record that is beyond the tolerances.

    Args:
        recorded: The record of the earlier run.
        metric: The metric's selector.
        before: Its score in that record.
        found: The record of the new run.
        why: What is appended to the sentences as the reason, such as " (the model has changed)".
    """
    now, name = found.metrics[metric], recorded.key
    if before.files != now.files and (before.files or before.value is not None):  # older reasons are silent about files
        yield f"{name}: the files that {metric} reads have changed since."
        why = why or " (its files have changed)"
    for what in ("direction", "unit"):
        said, true = getattr(before, what), getattr(now, what)
        if said != true:
            yield f"{name}: the record says that the {what} of {metric} is {said!r}, but it is {true!r}."
    limit = _limit(found, now.unit)
    for what, said, is_now in _numbers(before, now):
        allowed = _allowed(recorded, said, now.unit) * (BESIDE if what else 1.0)
        if _apart(said, is_now, allowed, limit if what != "n" else float):
            label = f"{metric} {what}".rstrip()
            yield (
                f"{name}: the record says {label} {_shown(said)}, but it is {_shown(is_now)} now,"
                f" further off than {allowed:.3g}{why}."
            )
    for what, text in _texts(before.details).items():
        if text != now.details.get(what):
            yield f"{name}: the record says {what} of {metric} {text!r}, but it is {now.details.get(what)!r} now."
    for what in ("sample", "replicate"):
        yield from _list_differences(recorded, metric, found, what, limit, why)


def _list_differences(
    recorded: Record, metric: str, found: Record, what: str, limit: Callable[[float], float], why: str
) -> Iterator[str]:
    """Yield a sentence if the values by sample, or the bootstrap replicates, have changed by too much on average."""
    before, now = ((each.per_sample if what == "sample" else each.replicates).get(metric, ()) for each in (recorded, found))
    name = recorded.key
    if len(before) != len(now):
        yield f"{name}: the record has {len(before)} values of {metric} by {what}, but there are {len(now)} now."
        return
    pairs = [(a, b) for a, b in zip(before, now, strict=True) if a is not None and b is not None]
    if sum(value is not None for value in (*before, *now)) != 2 * len(pairs):
        yield f"{name}: the values of {metric} by {what} are undefined in other places than the record says."
    if not pairs:
        return
    value, unit = recorded.metrics[metric].value, recorded.metrics[metric].unit
    allowed = _allowed(recorded, value, unit)
    gap = sum(abs(limit(a) - limit(b)) for a, b in pairs) / len(pairs)
    if not gap <= allowed:
        yield f"{name}: the values of {metric} by {what} are {gap:.3g} off on average, more than {allowed:.3g}{why}."


def _numbers(before: Score, now: Score) -> Iterator[tuple[str, Number, Number]]:
    """Yield the value ("") and the numbers beside it, as recorded and as found."""
    yield "", before.value, now.value
    yield "low", before.low, now.low
    yield "high", before.high, now.high
    for name, value in before.details.items():
        if _is_number(value):
            other = now.details.get(name)
            yield name, value, other if _is_number(other) else None


def _texts(details: Mapping[str, Any]) -> dict[str, str]:
    return {name: value for name, value in details.items() if isinstance(value, str) and name != "files"}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _allowed(record: Record, value: Number, unit: str) -> float:
    if unit == "dB":
        return DECIBELS.get(str(record.model.get("dtype")), DECIBELS_COARSE)
    return RELATIVE * abs(value or 0.0) + ABSOLUTE


def _limit(found: Record, unit: str) -> Callable[[float], float]:
    """Return a function that caps a PSNR at the highest that the new run's ground truth resolves; other values stay."""
    if unit != "dB":
        return lambda value: value
    highest = float(found.truth.get("ceiling", math.inf)) - CEILING_MARGIN
    return lambda value: min(value, highest)


def _apart(before: Number, now: Number, allowed: float, limit: Callable[[float], float]) -> bool:
    if before is None or now is None:
        return before is not now
    return not abs(limit(before) - limit(now)) <= allowed


def _shown(value: Number) -> str:
    return "nothing" if value is None else f"{value:.6g}"
