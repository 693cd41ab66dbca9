from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bnsbench.report.statistics import paired_difference


def test_interval_is_that_of_scipys_paired_test():
    rng = np.random.default_rng(0)
    a, b = rng.normal(30, 5, 50), rng.normal(30.5, 5, 50)
    found = paired_difference(a, b)
    expected = stats.ttest_rel(b, a)
    interval = expected.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.mean == pytest.approx(b.mean() - a.mean())
    assert found.separable == (expected.pvalue < 0.05)


def test_pairing_sees_what_the_common_noise_hides():
    rng = np.random.default_rng(1)
    difficulty = rng.normal(0, 10, 100)
    a, b = 30 + difficulty, 30.2 + difficulty + rng.normal(0, 0.1, 100)
    assert paired_difference(a, b).separable
    assert stats.ttest_ind(a, b).pvalue > 0.5


def test_five_per_cent_of_equal_solvers_are_told_apart():
    rng = np.random.default_rng(2)
    wrong = sum(paired_difference(*rng.standard_normal((2, 30))).separable for _ in range(2000))
    assert 60 < wrong < 145


@pytest.mark.parametrize(("a", "b"), [([1.0, 2.0], [1.0]), ([1.0], [1.0]), ([], [])])
def test_what_cannot_be_paired_has_no_difference(a, b):
    assert paired_difference(a, b) is None


def test_equal_values_are_not_separable():
    assert not paired_difference([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]).separable
