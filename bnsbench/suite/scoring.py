"""Scoring a cell's samples: every metric on its own, so that one that fails costs no other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from bnsbench.errors import DivergedError, NotApplicableError
from bnsbench.metrics.base import Metric, MetricValue, SampleSet
from bnsbench.plain import plain
from bnsbench.suite.faults import describe
from bnsbench.suite.plan import MetricComponent
from bnsbench.suite.record import Score


@dataclass(frozen=True)
class Scored:
    """Scores by metric; per_sample: values by sample index, rounded to six digits; faults: of metrics that failed."""

    scores: Mapping[str, Score]
    per_sample: Mapping[str, tuple[float, ...]]
    faults: tuple[str, ...] = ()


def score(metrics: Sequence[MetricComponent], make: Callable[[MetricComponent], Metric], samples: SampleSet) -> Scored:
    """Return what the metrics say of the samples.

    A metric that does not apply keeps its reason in place of a value; one that raises is a fault of the cell. DivergedError
    passes through.
    """
    scores: dict[str, Score] = {}
    per_sample: dict[str, tuple[float, ...]] = {}
    faults: list[str] = []
    for component in metrics:
        try:
            value = make(component)(samples)
            scores[component.shown] = _to_score(component, value)
        except NotApplicableError as error:
            scores[component.shown] = Score(*_reading(component), reason=describe(error))
        except DivergedError:
            raise
        except Exception as error:  # noqa: BLE001 (metrics of plugins may raise anything)
            faults.append(f"the metric {component.shown} raised {describe(error)}")
        else:
            if value.per_sample is not None:
                per_sample[component.shown] = _rounded(value.per_sample)
    return Scored(scores, per_sample, tuple(faults))


def _to_score(component: MetricComponent, found: MetricValue) -> Score:
    value, low, high = plain([found.value, found.low, found.high])
    reason = "" if value is not None else "it is not a finite number"
    return Score(*_reading(component), value, low, high, reason, plain({**found.details, **found.info}))


def _rounded(values: Sequence[float]) -> tuple[float, ...]:
    # Records hold thousands of these numbers; more digits would be rounding noise of the sampler.
    return tuple(float(f"{value:.6g}") for value in values)


def _reading(component: MetricComponent) -> tuple[str, Literal["higher", "lower"], str]:
    return component.version, component.direction, component.unit
