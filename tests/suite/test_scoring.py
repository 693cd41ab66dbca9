"""Every metric is scored by itself: what one does costs no other its value."""

from __future__ import annotations

import math
from unittest.mock import Mock

import pytest
import torch

from bnsbench.errors import DivergedError, NotApplicableError
from bnsbench.flows.model import Model
from bnsbench.metrics.base import MetricValue, SampleSet
from bnsbench.suite.plan import MetricComponent
from bnsbench.suite.scoring import score


def component(name, **more):
    return MetricComponent(name=name, provider="here", version="3", parameters={}, **more)


@pytest.fixture
def samples():
    x = torch.zeros(4, 2)
    return SampleSet(latents=x, truth_latents=x, condition=None, data_range=2.0, model=Mock(Model))


def scored(samples, **metrics):
    """Score by functions or values, each named by its keyword; an exception is raised by the metric."""

    def make(chosen):
        found = metrics[chosen.name]

        def metric(given):
            assert given is samples
            if isinstance(found, BaseException):
                raise found
            return found

        return metric

    return score([component(name, direction="lower", unit="km") for name in metrics], make, samples)


def test_a_value_with_everything_that_it_has(samples):
    value = MetricValue(
        2.5, low=2.0, high=3.0, details={"median": 2.25}, per_sample=[1.23456789, 2.0, 0.0, 0.5], replicates=[2.3456789]
    )
    found = scored(samples, length=value)
    (one,) = found.scores.values()
    assert (one.version, one.direction, one.unit) == ("3", "lower", "km")
    assert (one.value, one.low, one.high, one.reason, dict(one.details)) == (2.5, 2.0, 3.0, "", {"median": 2.25})
    assert (found.per_sample, found.replicates) == ({"length": (1.23457, 2.0, 0.0, 0.5)}, {"length": (2.34568,)})
    assert found.faults == ()


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_value_that_is_no_number_has_a_reason_instead(samples, value):
    found = scored(samples, length=MetricValue(value, per_sample=[1.0, value]))
    assert (found.scores["length"].value, found.scores["length"].reason) == (None, "it is not a finite number")
    assert found.per_sample == {}


def test_one_that_does_not_apply_keeps_its_reason_and_one_that_raises_is_a_fault(samples):
    found = scored(samples, a=NotApplicableError("no such\nthing"), b=ZeroDivisionError("of b"), c=MetricValue(1.0))
    assert (found.scores["a"].value, found.scores["a"].reason, found.scores["a"].unit) == (None, "no such thing", "km")
    assert (found.scores["c"].value, list(found.scores)) == (1.0, ["a", "c"])
    assert len(found.faults) == 1
    assert found.faults[0].startswith("the metric b of the plugin here raised ZeroDivisionError: of b (test_scoring.py")


def test_samples_that_have_diverged_are_the_cell_s_end(samples):
    with pytest.raises(DivergedError):
        scored(samples, a=DivergedError("of a"))


def test_a_metric_that_cannot_be_made_says_so(samples):
    def make(chosen):
        raise NotApplicableError("no program")

    found = score([component("a")], make, samples)
    assert (found.scores["a"].reason, found.scores["a"].made) == ("no program", False)


@pytest.mark.parametrize("applies", [True, False])
def test_the_files_of_a_metric_are_told_whether_it_applies_or_not(samples, applies):
    class WithFiles:
        def fingerprint(self):
            return "abc"

        def __call__(self, given):
            if not applies:
                raise NotApplicableError("not for these")
            return MetricValue(1.0, info={"files": "its own word"})

    found = score([component("a")], lambda chosen: WithFiles(), samples)
    assert (found.scores["a"].files, found.scores["a"].made) == ("abc", True)


def test_metrics_of_one_name_are_told_apart(samples):
    metrics = [component("a"), component("a", qualified=True)]
    found = score(metrics, lambda chosen: lambda given: MetricValue(float(chosen.qualified)), samples)
    assert {name: each.value for name, each in found.scores.items()} == {"a": 0.0, "here/a": 1.0}
