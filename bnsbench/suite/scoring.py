"""Scoring a cell's samples: every metric on its own, so that one that fails costs no other."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bnsbench.contract.returned import text
from bnsbench.errors import DivergedError, NotApplicableError, forget_raiser
from bnsbench.metrics.base import Metric, MetricValue, SampleSet, checked
from bnsbench.metrics.contents import files_fingerprint
from bnsbench.process.interrupts import interrupts_told
from bnsbench.process.surroundings import guarded
from bnsbench.storage.plain_data import as_plain_data
from bnsbench.suite.failures import CellTimeoutError, describe, told_of
from bnsbench.suite.plan import MetricComponent
from bnsbench.suite.record import Score
from bnsbench.suite.store import StorageError


@dataclass(frozen=True)
class Scored:
    """Scores by metric, and the faults of metrics that failed.

    per_sample: values by sample index. replicates: values of resampled samples. Both are of metrics that have them, and
    rounded to six digits.
    """

    scores: Mapping[str, Score]
    per_sample: Mapping[str, tuple[float, ...]]
    replicates: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    faults: tuple[str, ...] = ()


def score(metrics: Sequence[MetricComponent], make: Callable[[MetricComponent], Metric], samples: SampleSet) -> Scored:
    """Return the scores of the samples under every metric.

    A metric that does not apply, or whose value is not finite, has a reason in place of a value; one that raises anything
    else, or returns anything but a value, is a fault of the cell. Details of metrics that depend on files hold a hash of
    these as ``files``, whether there is a value or not; where the metric could not even be made, they say that ``made`` is
    false.

    Args:
        metrics: Those of the cell.
        make: Returns the metric of a component.
        samples: The cell's samples.

    Raises:
        DivergedError: If a metric finds that the samples have diverged.
        CellTimeoutError: If the cell's time is over.
        StorageError: If what a metric keeps cannot be written.
    """
    scores: dict[str, Score] = {}
    per_sample: dict[str, tuple[float, ...]] = {}
    replicates: dict[str, tuple[float, ...]] = {}
    faults: list[str] = []
    for component in metrics:
        known: dict[str, Any] = {"made": False}
        with interrupts_told() as interrupts:
            try:
                with guarded():
                    metric = make(component)
                    files = text(files_fingerprint(metric), "the fingerprint of its files")
                    known = {"files": files} if files else {}
                    value = checked(metric(samples), len(samples))
            except NotApplicableError as error:
                scores[component.shown] = replace(_unscored(component), reason=describe(error), details=known)
                continue
            except (DivergedError, CellTimeoutError, StorageError):
                raise
            except BaseException as error:
                if interrupts.by_user(error):
                    raise
                forget_raiser(error)
                faults.append(told_of(error, component, "metric"))
                continue
        scores[component.shown] = _to_score(component, value, known)
        for kept, values in ((per_sample, value.per_sample), (replicates, value.replicates)):
            if values is not None:
                kept[component.shown] = _rounded(values)
    return Scored(scores, per_sample, replicates, tuple(faults))


def _to_score(component: MetricComponent, found: MetricValue, known: Mapping[str, Any]) -> Score:
    value = found.value if math.isfinite(found.value) else None
    reason = "" if value is not None else "it is not a finite number"
    details = as_plain_data({**found.details, **found.info, **known})
    return replace(_unscored(component), value=value, low=found.low, high=found.high, reason=reason, details=details)


def _rounded(values: Sequence[float]) -> tuple[float, ...]:
    # Records hold thousands of these numbers; more digits would be rounding noise of the sampler.
    return tuple(float(f"{value:.6g}") for value in values)


def _unscored(component: MetricComponent) -> Score:
    """Return the metric's score without a value: which version it is and how its values read."""
    return Score(version=component.version, direction=component.direction, unit=component.unit)
