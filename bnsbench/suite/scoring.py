"""Scoring a cell's samples: every metric on its own, so that one that fails costs no other."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bnsbench.errors import DivergedError, NotApplicableError
from bnsbench.metrics.base import Metric, MetricValue, SampleSet
from bnsbench.metrics.contents import files_fingerprint
from bnsbench.storage.plain_data import as_plain_data
from bnsbench.suite.failures import describe
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

    A metric that does not apply, or whose value is not finite, has a reason in place of a value; one that raises any other
    error is a fault of the cell. Details of metrics that depend on files hold a hash of these as ``files``, whether there is
    a value or not; where the metric could not even be made, they say that ``made`` is false.

    Args:
        metrics: Those of the cell.
        make: Returns the metric of a component.
        samples: The cell's samples.

    Raises:
        DivergedError: If a metric finds that the samples have diverged.
        StorageError: If the cache cannot be written.
    """
    scores: dict[str, Score] = {}
    per_sample: dict[str, tuple[float, ...]] = {}
    replicates: dict[str, tuple[float, ...]] = {}
    faults: list[str] = []
    for component in metrics:
        known: dict[str, Any] = {"made": False}
        try:
            metric = make(component)
            files = files_fingerprint(metric)
            known = {"files": files} if files else {}
            value = metric(samples)
            scores[component.shown] = _to_score(component, value, known)
        except NotApplicableError as error:
            scores[component.shown] = replace(_unscored(component), reason=describe(error), details=known)
        except (DivergedError, StorageError):
            raise
        except Exception as error:  # noqa: BLE001 (metrics of plugins may raise anything)
            faults.append(f"the metric {component.shown} raised {describe(error)}")
        else:
            for kept, values in ((per_sample, value.per_sample), (replicates, value.replicates)):
                if values is not None and all(map(math.isfinite, values)):
                    kept[component.shown] = _rounded(values)
    return Scored(scores, per_sample, replicates, tuple(faults))


def _to_score(component: MetricComponent, found: MetricValue, known: Mapping[str, Any]) -> Score:
    value, low, high = as_plain_data([found.value, found.low, found.high])
    reason = "" if value is not None else "it is not a finite number"
    details = as_plain_data({**found.details, **found.info, **known})
    return replace(_unscored(component), value=value, low=low, high=high, reason=reason, details=details)


def _rounded(values: Sequence[float]) -> tuple[float, ...]:
    # Records hold thousands of these numbers; more digits would be rounding noise of the sampler.
    return tuple(float(f"{value:.6g}") for value in values)


def _unscored(component: MetricComponent) -> Score:
    """Return the metric's score without a value: which version it is and how its values read."""
    return Score(version=component.version, direction=component.direction, unit=component.unit)
