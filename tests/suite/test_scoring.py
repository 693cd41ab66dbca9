"""Every metric is scored by itself: what one does costs no other its value."""

from __future__ import annotations

import math
from typing import Any
from unittest.mock import Mock

import pytest
import torch

from bnsbench.errors import DivergedError, NotApplicableError
from bnsbench.flows.model import Model
from bnsbench.metrics.base import MetricValue, SampleSet
from bnsbench.suite.failures import CellTimeoutError
from bnsbench.suite.plan import MetricComponent
from bnsbench.suite.scoring import score
from bnsbench.suite.store import StorageError


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


NAN = math.nan


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (3.5, "it returned a float instead of a MetricValue"),
        (None, "it returned None instead of a MetricValue"),
        (MetricValue("3.5"), "it returned the text '3.5' as its value, where a real number belongs"),  # type: ignore[arg-type]
        (MetricValue(10**400), "it returned a whole number of more digits than a number in a record can have as its value"),
        (MetricValue(1.0, low=NAN), "it returned nan as the low end, which is not finite"),
        (MetricValue(1.0, high=math.inf), "it returned inf as the high end, which is not finite"),
        (MetricValue(1.0, 3.0, 2.0), "it returned an interval from 3 to 2, whose low end is the higher one"),
        (MetricValue(1.0, details={"n": NAN}), "it returned nan as the detail n, which is not finite"),
        (MetricValue(1.0, per_sample=[1.0]), "it returned 1 per-sample values for 4 samples"),
        (
            MetricValue(1.0, per_sample=[1.0, NAN, 1.0, 1.0]),
            "per-sample values of which number 2 is nan, which is not finite",
        ),
        (MetricValue(1.0, replicates=[NAN]), "it returned replicates of which number 1 is nan, which is not finite"),
    ],
)
def test_what_is_no_value_is_a_fault_of_its_metric_alone(samples, value, said):
    found = scored(samples, a=MetricValue(1.0), b=value, c=MetricValue(2.0))
    assert {name: score.value for name, score in found.scores.items()} == {"a": 1.0, "c": 2.0}
    (fault,) = found.faults
    assert fault.startswith("the metric b of the plugin here: it returned")
    assert said in fault
    assert found.per_sample == found.replicates == {}


def test_numbers_of_libraries_become_plain(samples):
    theirs: Any = torch.tensor(2.5), torch.tensor(4), torch.ones(4)
    value = MetricValue(theirs[0], details={"n": theirs[1]}, per_sample=theirs[2])
    found = scored(samples, a=value)
    assert (found.scores["a"].value, dict(found.scores["a"].details)) == (2.5, {"n": 4.0})
    assert found.per_sample == {"a": (1.0, 1.0, 1.0, 1.0)}


@pytest.mark.parametrize("error", [SystemExit(0), KeyboardInterrupt(), GeneratorExit(), BaseException("base")])
def test_whatever_a_metric_raises_costs_no_other(samples, error):
    found = scored(samples, a=error, b=MetricValue(1.0))
    assert list(found.scores) == ["b"]
    assert found.faults[0].startswith(f"the metric a of the plugin here raised {type(error).__name__}")


@pytest.mark.parametrize("error", [CellTimeoutError(), StorageError("full")])
def test_the_end_of_the_cell_or_the_run_is_no_fault_of_a_metric(samples, error):
    with pytest.raises(type(error)):
        scored(samples, a=error, b=MetricValue(1.0))


def test_what_a_metric_changes_is_put_back_for_the_next(samples):
    def make(chosen):
        def metric(given):
            if chosen.name == "a":
                torch.set_default_dtype(torch.float64)
            return MetricValue(float(torch.ones(1).element_size()))

        return metric

    found = score([component("a"), component("b")], make, samples)
    assert [each.value for each in found.scores.values()] == [8.0, 4.0]
