from __future__ import annotations

import math
import time

import pytest

from bnsbench.training.allowance import Allowance
from bnsbench.training.budget import Budget
from bnsbench.training.problem import Cost
from tests.training.toys import cross_source

GUIDED = cross_source(guidance=1.0)
"""Every evaluation of which is two forwards."""


def test_without_a_budget_everything_is_allowed() -> None:
    allowance = Allowance(None, Cost(training=10**9), GUIDED)
    assert allowance.left == math.inf
    assert allowance.affords(1e12)
    assert allowance.record() is None
    assert allowance.expected(100) == 200


def test_all_purposes_count_in_forwards_and_what_is_left_in_evaluations() -> None:
    cost = Cost(training=100, validation=20, truths={"train": 30})
    allowance = Allowance(Budget(forwards=1000), cost, GUIDED)
    assert (allowance.forwards, allowance.left) == (300, 350)
    assert allowance.affords(350)
    assert not allowance.affords(351)
    cost.training += 400
    assert allowance.left == -50
    record = allowance.record()
    assert record is not None
    assert (record["forwards"], record["seconds"], record["spent"]["forwards"]) == (1000, None, 1100)


def test_lower_rungs_count_and_a_truth_of_both_once() -> None:
    below = Cost(training=50, truths={"train": 30, "validation": 5})
    allowance = Allowance(Budget(forwards=1000), Cost(training=100, truths={"train": 40}), GUIDED, below)
    assert allowance.forwards == 2 * (150 + 40 + 5)


def test_a_rung_goes_on_from_the_record_of_the_one_below() -> None:
    record = {"spent": Cost(training=50).to_dict(), "seconds": 2.0, "budget": {"spent": {"seconds": 7.0}}}
    allowance = Allowance.after(record, Budget(seconds=10.0, pace=0.01), Cost(), GUIDED)
    assert allowance.forwards == 100
    assert 7.0 <= allowance.seconds < 7.5
    assert Allowance.after({"seconds": 2.0}, None, Cost(), GUIDED).seconds >= 2.0
    assert Allowance.after(None, None, Cost(), GUIDED).seconds < 0.5


def test_time_is_left_for_evaluations_at_the_measured_pace() -> None:
    cost = Cost()
    allowance = Allowance(Budget(seconds=100.0, pace=0.5), cost, GUIDED)
    assert allowance.left == pytest.approx(100, abs=1)  # of two forwards, so of a second each
    with allowance.timed():
        time.sleep(0.05)
        cost.training += 10
    assert 0.005 <= allowance.pace < 0.05
    assert allowance.left == pytest.approx((100 - allowance.seconds) / allowance.pace, rel=0.01)
    pace = allowance.pace
    with allowance.timed():  # in which nothing was evaluated
        pass
    assert allowance.pace == pace


def test_an_interrupted_training_has_spent_its_time() -> None:
    allowance = Allowance(Budget(seconds=100.0, pace=0.5), Cost(), GUIDED)
    allowance.resume(60.0)
    assert 60.0 <= allowance.seconds < 61.0
    allowance.resume(30.0)
    assert 60.0 <= allowance.seconds < 61.0


def test_no_more_is_expected_than_is_left() -> None:
    allowance = Allowance(Budget(forwards=1000), Cost(training=100), GUIDED)
    assert [allowance.expected(count) for count in (10, 400, 4000)] == [20, 800, 800]
