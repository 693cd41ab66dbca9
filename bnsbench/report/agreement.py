"""Comparison of a cell that was run again with its record: within tolerances that are stated here and nowhere else."""

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

SINGLE = 40.0
"""The factor for the decibels of a single sample: a field may spread the rounding of one far more than of the others."""

CEILING_MARGIN = 10.0
"""Decibels below the ground truth's ceiling from which on PSNRs are not told apart: the truth's own error shows there."""

CEILING_TOLERANCE = CEILING_MARGIN
"""Decibels by which the ground truth's own error may differ where it is measured again.

That of a float32 network consists of rounding: at 107 dB, it was 4 dB different on another processor.
"""

TRUTH_NFE = 0.05
"""The share by which the evaluations of the ground truth may differ: rounding decides whether a step is repeated."""

RETRAINED_DECIBELS = 0.5
RETRAINED_FORWARDS = 0.25
"""The allowed difference of a solver that is trained again: in PSNR, and the share of its network forwards."""

FACTS = ("n", "data_range", "reference_n")
"""Numbers beside a metric's value that are no measurements, and thus the same everywhere."""


def _percent(share: float) -> str:
    return f"{100 * share:g} %"


TOLERANCES = (
    ("status, reason of a cell that cannot be run, NFE, forwards of sampling and of training", "none"),
    ("unit, direction and version of a metric, its texts, number of samples and data range", "none"),
    ("model: fingerprint and precision", "none"),
    ("solver file: name, path, interval, guidance, NFE, fingerprint, and what the record repeats of its training", "none"),
    (
        "value of a metric in dB",
        f"{DECIBELS['float64']:g} dB for models in float64, {DECIBELS_COARSE:g} dB for others; whatever lies above the"
        f" ground truth's ceiling less {CEILING_MARGIN:g} dB counts as that",
    ),
    ("value of any other metric", f"{_percent(RELATIVE)} and {ABSOLUTE:g}"),
    ("interval, median, quantiles and other numbers beside a value", f"{BESIDE:g} times that of the value"),
    ("values by sample, bootstrap replicates", "that of the value, on average"),
    ("a single sample's value in dB", f"{SINGLE:g} times that of the value"),
    ("ceiling of the ground truth", f"{CEILING_TOLERANCE:g} dB"),
    ("evaluations of the ground truth", _percent(TRUTH_NFE)),
    ("seconds", "not compared; they must be possible"),
    ("with `--retrain`: values in dB, and the validation PSNR", f"{RETRAINED_DECIBELS:g} dB"),
    ("with `--retrain`: forwards of training, for each purpose", _percent(RETRAINED_FORWARDS)),
)
"""What is compared, and how far off it may be: the table of the documentation."""

Number = float | None


def differences(recorded: Record, found: Record) -> Iterator[str]:
    """Yield a sentence for every difference beyond the tolerances between a cell's record and the cell when run again."""
    name = recorded.key
    if recorded.status != found.status:
        reason = f" ({found.reason})" if found.reason else ""
        yield f"{name}: the record says {recorded.status}, but it is {found.status} now{reason}."
        return
    before, now = (record.model.get("fingerprint") for record in (recorded, found))
    if before != now and (before or recorded.metrics):  # older records of a truth that diverged do not know their model
        yield f"{name}: the model has changed since: its fingerprint was {_short(before)} and is {_short(now)}."
    for fact in ("nfe", "forwards", "train_forwards"):
        if getattr(recorded, fact) != getattr(found, fact):
            yield f"{name}: the record says {fact} {getattr(recorded, fact)}, but it is {getattr(found, fact)} now."
    yield from _fact_differences(recorded, found)
    yield from _truth_differences(recorded, found)
    for metric, score in recorded.metrics.items():
        if metric in found.metrics:
            why = "" if before == now else " (the model has changed)"
            yield from score_differences(recorded, metric, score, found, why)


def _fact_differences(recorded: Record, found: Record) -> Iterator[str]:
    """Yield a sentence for every fact on the solver and the model that is another one now."""
    name = recorded.key
    before, now = recorded.model.get("dtype"), found.model.get("dtype")
    if before != now and recorded.metrics:
        yield f"{name}: the record says that the model is in {before}, but it is in {now} now."
    said: Mapping[str, Any] = recorded.solver
    true: Mapping[str, Any] = found.solver
    for fact in sorted((said.keys() | true.keys()) if said else ()):
        # The last bits of a table that is computed depend on the processor, and nothing follows from its fingerprint.
        if fact == "fingerprint" and "file" not in true and (fact in said) == (fact in true):
            continue
        if said.get(fact) != true.get(fact):
            yield f"{name}: the record says {fact} {said.get(fact)!r} of the solver, but it is {true.get(fact)!r} now."


def _truth_differences(recorded: Record, found: Record) -> Iterator[str]:
    """Yield a sentence for every fact on the ground truth that is too far off."""
    name, said, true = recorded.key, recorded.truth, found.truth
    before, now = said.get("ceiling"), true.get("ceiling")
    if before is not None and now is not None and not abs(before - now) <= CEILING_TOLERANCE:
        yield (
            f"{name}: the record says that the ground truth resolves {before:g} dB, but it is {now:g} dB now,"
            f" further off than {CEILING_TOLERANCE:g}."
        )
    if said.get("tolerance") != true.get("tolerance") and "tolerance" in said:
        yield f"{name}: the record says the tolerance {said['tolerance']!r}, but it is {true.get('tolerance')!r} now."
    before, now = said.get("nfe"), true.get("nfe")
    if before is not None and now is not None and not abs(before - now) <= TRUTH_NFE * abs(now):
        yield f"{name}: the record says that the ground truth took {before:g} evaluations, but it takes {now:g} now."


def _short(fingerprint: object) -> str:
    return str(fingerprint)[:12]


def retrained_differences(recorded: Record, found: Record) -> Iterator[str]:
    """Yield a sentence for everything in which a cell with its solver trained again differs from its record by too much.

    Trainings on other machines end elsewhere, by rounding: what a solver reaches and what it costs are compared.
    """
    name = recorded.key
    if recorded.status != found.status:
        reason = f" ({found.reason})" if found.reason else ""
        yield f"{name}: with its solver trained again, the cell is {found.status} in place of {recorded.status}{reason}."
        return
    limit = _limit(found, "dB")
    values = {metric: (recorded.metrics.get(metric), score) for metric, score in found.metrics.items() if score.unit == "dB"}
    pairs = {metric: (before.value, now.value) for metric, (before, now) in values.items() if before is not None}
    for metric, (said, true) in (pairs | {"validation PSNR": _validation(recorded, found)}).items():
        if _apart(said, true, RETRAINED_DECIBELS, limit):
            yield (
                f"{name}: the record says {metric} {_shown(said)}, but with the solver trained again it is {_shown(true)},"
                f" further off than {RETRAINED_DECIBELS:g}."
            )
    if recorded.solver.get("fingerprint") == found.solver.get("fingerprint"):
        for fact, told in (("grid", found.solver.get("grid")), ("rule", found.solver.get("rule"))):
            if recorded.solver.get(fact) != told:
                yield f"{name}: the record says {fact} {recorded.solver.get(fact)!r}, but the table is that of {told!r}."
    before, now = _paid(recorded), _paid(found)
    for purpose in sorted(before.keys() | now.keys()):
        said, true = before.get(purpose, 0), now.get(purpose, 0)
        if not abs(said - true) <= RETRAINED_FORWARDS * true:
            yield (
                f"{name}: the record says that training took {said} forwards ({purpose}), but trained again it took {true},"
                f" further off than {_percent(RETRAINED_FORWARDS)}."
            )


def _paid(record: Record) -> dict[str, int]:
    """Return the network forwards of a solver's training by purpose, and in total."""
    return {**record.solver.get("forwards", {}), "in total": record.train_forwards or 0}


def _validation(recorded: Record, found: Record) -> tuple[Number, Number]:
    return recorded.solver.get("psnr"), found.solver.get("psnr")


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
        fact = what in FACTS
        allowed = 0.0 if fact else _allowed(found, said, now.unit) * (BESIDE if what else 1.0)
        if _apart(said, is_now, allowed, float if fact else limit):
            label = f"{metric} {what}".rstrip()
            yield (
                f"{name}: the record says {label} {_shown(said)}, but it is {_shown(is_now)} now,"
                f" further off than {allowed:.3g}{why}."
            )
    texts = {"reason": (before.reason, now.reason)} if before.value is None and now.value is None else {}
    for what, (text, true) in (texts | _texts(before.details, now.details)).items():
        if text != true:
            yield f"{name}: the record says {what} of {metric} {text!r}, but it is {true!r} now."
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
    value, unit = recorded.metrics[metric].value, found.metrics[metric].unit
    allowed = _allowed(found, value, unit)
    gaps = [abs(limit(a) - limit(b)) for a, b in pairs]
    gap, largest = sum(gaps) / len(gaps), max(gaps)
    if not gap <= allowed:
        yield f"{name}: the values of {metric} by {what} are {gap:.3g} off on average, more than {allowed:.3g}{why}."
    elif unit == "dB" and not largest <= SINGLE * allowed:
        place = gaps.index(largest)
        yield (
            f"{name}: the value of {metric} of {what} {place} is {largest:.3g} off, more than {SINGLE * allowed:.3g}{why}."
        )


def _numbers(before: Score, now: Score) -> Iterator[tuple[str, Number, Number]]:
    """Yield the value ("") and the numbers beside it, as recorded and as found; None where one of them has none."""
    yield "", before.value, now.value
    yield "low", before.low, now.low
    yield "high", before.high, now.high
    for name in dict.fromkeys((*before.details, *now.details)):
        said, true = (each.details.get(name) for each in (before, now))
        if _is_number(said) or _is_number(true):
            yield name, said if _is_number(said) else None, true if _is_number(true) else None


def _texts(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the details that are no numbers, as recorded and as found; those on files are compared by themselves."""
    names = [name for name in dict.fromkeys((*before, *now)) if name not in ("files", "made")]
    pairs = {name: (before.get(name), now.get(name)) for name in names}
    return {name: pair for name, pair in pairs.items() if not any(map(_is_number, pair))}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _allowed(found: Record, value: Number, unit: str) -> float:
    if unit == "dB":
        return DECIBELS.get(str(found.model.get("dtype")), DECIBELS_COARSE)
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
