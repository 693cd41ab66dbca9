"""Intervals and separations, against SciPy and by simulation with the recorded values of the default results."""

from __future__ import annotations

import json
import math
import time
from functools import lru_cache
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike
from scipy import stats

from bnsbench.statistics import (
    Moments,
    PairedDifference,
    decibels_of_mean,
    decibels_of_mean_interval,
    decibels_of_mean_pairs,
    mean_interval,
    mean_pairs,
    paired_difference,
    quantile,
    quantile_interval,
    quantile_pairs,
    replicate_interval,
    replicate_pairs,
    separations,
    wilson_interval,
)

RECORDS = Path(__file__).parents[1] / "results/default/cells"


@lru_cache(maxsize=1)
def columns() -> list[np.ndarray]:
    """Return the recorded PSNRs [n, solvers] of every model, guidance and NFE of the default results."""
    found: dict[tuple, list] = {}
    for file in sorted(RECORDS.glob("*.json")):
        record = json.loads(file.read_text(encoding="utf-8"))
        if record["status"] == "ok":
            cell = record["cell"]
            found.setdefault((cell["model"]["name"], cell["guidance"], cell["nfe"]), []).append(record["per_sample"]["psnr"])
    return [np.array(values).T for values in found.values()]


def ends(interval: tuple[float | None, float | None]) -> tuple[float, float]:
    """Return the ends of an interval that has both."""
    low, high = interval
    assert low is not None
    assert high is not None
    return low, high


def symmetric(n: int) -> np.ndarray:
    half = np.random.default_rng(n).standard_normal(n // 2)
    return np.concatenate([3 + half, 3 - half])


# Intervals of one mean


@pytest.mark.parametrize("n", [2, 4, 48, 1000])
def test_of_values_that_are_not_skewed_it_is_students(n):
    values = symmetric(n)
    interval = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert mean_interval(values) == pytest.approx((interval.low, interval.high), rel=1e-12)
    wider = stats.ttest_1samp(values, 0).confidence_interval(0.99)
    assert mean_interval(values, 0.99) == pytest.approx((wider.low, wider.high), rel=1e-12)


@pytest.mark.parametrize("n", [1, 0])
def test_fewer_than_two_values_have_none(n):
    assert mean_interval([1.0] * n) == (None, None)
    assert decibels_of_mean_interval([1.0] * n) == (None, None)


def test_values_that_do_not_vary_have_a_point():
    assert mean_interval([0.25] * 7) == (0.25, 0.25)


def test_a_long_tail_extends_the_interval_on_its_side_only():
    values = np.random.default_rng(0).exponential(size=60)
    interval = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    low, high = ends(mean_interval(values))
    assert low == pytest.approx(interval.low)
    # The quantile of t under skewness, with the skewness that SciPy corrects for n, and its known shortfall at n = 60.
    skewness, q = stats.skew(values, bias=False) * (1 + 48 / 60), stats.t.ppf(0.975, 59)
    expected = values.mean() + stats.sem(values) * (q + skewness * (2 * q**2 + 1) / (6 * math.sqrt(60)))
    assert high == pytest.approx(expected)
    assert mean_interval(-values) == pytest.approx((-high, -low))


def coverage(values: np.ndarray, n: int, draws: int = 1000) -> float:
    """Return how often the interval of n of the values covers the mean of all of them."""
    samples = values[np.random.default_rng(1).integers(0, len(values), (n, draws))]
    low, high = Moments.of(samples).ends(0.95)
    return float(((low <= values.mean()) & (values.mean() <= high)).mean())


@pytest.mark.parametrize("n", [48, 200])
def test_it_covers_the_recorded_means_in_nearly_all_cells(n):
    """Student's interval has 92 % at the 5 % quantile of these cells for n = 48 and 93 % for 200."""
    found = [coverage(values, n) for column in columns() for values in column.T[::4]]
    assert 0.945 < np.mean(found) < 0.965
    assert np.quantile(found, 0.05) >= 0.93


def test_a_thousand_values_take_under_five_milliseconds():
    values = np.random.default_rng(0).normal(size=1000)
    took = []
    for _ in range(20):
        began = time.perf_counter()
        mean_interval(values)
        took.append(time.perf_counter() - began)
    assert min(took) < 0.005


# Shares, quantiles, decibels of a mean, replicates


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (5, 10), (97, 100), (10, 10)])
def test_wilson_interval_inverts_the_score_test(successes, n):
    # Its ends are the proportions p with |share - p| = z sqrt(p (1 - p) / n).
    z = NormalDist().inv_cdf(0.975)
    for p in wilson_interval(successes, n):
        assert abs(successes / n - p) == pytest.approx(z * math.sqrt(max(p * (1 - p), 0) / n), rel=1e-5, abs=1e-7)


@pytest.mark.parametrize(("n", "share"), [(1000, 0.05), (200, 0.05), (48, 0.5), (1000, 0.95)])
def test_interval_of_a_quantile_is_that_of_scipys_test(n, share):
    values = np.random.default_rng(3).gamma(2.0, size=n)
    interval: Any = stats.quantile_test(values, q=0, p=share).confidence_interval(0.95)
    assert quantile_interval(values, share) == pytest.approx((interval.low, interval.high))


def test_interval_of_a_quantile_has_no_end_beyond_the_outermost_value():
    low, high = quantile_interval(list(range(48)), 0.05)
    assert low is None
    assert high == 6
    assert quantile_interval([1.0], 0.05) == (None, None)
    assert quantile_interval([], 0.05) == (None, None)


def test_decibels_of_the_mean_squared_error():
    mse = np.random.default_rng(0).exponential(size=50)
    assert decibels_of_mean(-10 * np.log10(mse)) == pytest.approx(-10 * np.log10(mse.mean()))
    low, high = decibels_of_mean_interval(-10 * np.log10(mse))
    assert low < -10 * np.log10(mse.mean()) < high
    # One more sample, twelve times as bad as the worst, must not lie outside.
    assert low < -10 * np.log10(np.append(mse, 12 * mse.max()).mean())


def test_decibels_of_the_mean_are_covered_although_few_samples_make_them():
    """By a percentile bootstrap, the recorded mean squared errors are covered in 76 % of draws of 48, and here in 98 %."""
    rng, covered = np.random.default_rng(0), []
    for column in columns()[::2]:
        for values in column.T[::6]:
            truth = decibels_of_mean(values)
            intervals = [decibels_of_mean_interval(rng.choice(values, 48)) for _ in range(40)]
            covered.append(np.mean([low <= truth <= high for low, high in map(ends, intervals)]))
    assert np.mean(covered) > 0.955
    assert np.quantile(covered, 0.05) > 0.875


def frechet(features: np.ndarray) -> np.ndarray:
    """Return the Frechet distances of features [..., n, d] to N(0, 1)^d."""
    mean = features.mean(axis=-2)
    centred = features - mean[..., None, :]
    eigenvalues = np.linalg.eigvalsh(np.swapaxes(centred, -1, -2) @ centred / (features.shape[-2] - 1))
    return np.square(mean).sum(-1) + np.square(np.sqrt(eigenvalues.clip(0)) - 1).sum(-1)


def gaussians(rng, n, d, k, common, shift=None):
    """Return k sets of features of the same n samples [k, n, d], with what they have in ``common``."""
    noise = rng.standard_normal((k, n, d))
    mixed = common * rng.standard_normal((n, d)) + math.sqrt(1 - common**2) * noise
    return 0.3 + 1.2 * mixed + (0 if shift is None else np.asarray(shift)[:, None, None])


def fid_replicates(features, indices):
    return np.stack([frechet(each[indices]) for each in features], axis=1)


def test_interval_from_replicates_covers_the_expected_distance():
    n, d, replicates = 100, 3, 100
    rng = np.random.default_rng(0)
    indices = np.random.default_rng(n).integers(0, n, (replicates, n))
    expected = frechet(gaussians(rng, n, d, 20000, 0.0)).mean()
    hits = 0
    for features in gaussians(rng, n, d, 400, 0.0):
        low, high = replicate_interval(float(frechet(features)), frechet(features[indices]))
        hits += low <= expected <= high
    # The distance of this n is biased by a third of its standard deviation: the interval is of the biased one.
    assert 0.91 < hits / 400 < 0.98


# Pairs


def paired(a: ArrayLike, b: ArrayLike) -> PairedDifference:
    """Return the difference of values that can be paired."""
    found = paired_difference(np.asarray(a).tolist(), np.asarray(b).tolist())
    assert found is not None
    return found


def test_of_differences_that_are_not_skewed_the_interval_is_that_of_scipys_paired_test():
    a = np.random.default_rng(0).normal(30, 5, 50)
    b = a + 0.5 + symmetric(50)
    found = paired(a, b)
    expected = stats.ttest_rel(b, a)
    interval = expected.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.mean == pytest.approx(b.mean() - a.mean())
    assert found.separable == (expected.pvalue < 0.05)


def test_pairing_sees_what_the_common_noise_hides():
    rng = np.random.default_rng(1)
    difficulty = rng.normal(0, 10, 100)
    a, b = 30 + difficulty, 30.2 + difficulty + rng.normal(0, 0.1, 100)
    assert paired(a, b).separable
    assert stats.ttest_ind(a, b).pvalue > 0.5


def test_five_per_cent_of_equal_solvers_are_told_apart():
    rng = np.random.default_rng(2)
    wrong = sum(paired(*rng.standard_normal((2, 30))).separable for _ in range(2000))
    assert 60 < wrong < 145


@pytest.mark.parametrize(("a", "b"), [([1.0, 2.0], [1.0]), ([1.0], [1.0]), ([], [])])
def test_what_cannot_be_paired_has_no_difference(a, b):
    assert paired_difference(a, b) is None


def test_equal_values_are_not_separable():
    assert not paired([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]).separable


def test_pairs_are_those_of_two_solvers_each():
    values = columns()[0][:100, :4]
    for make in (mean_pairs, decibels_of_mean_pairs, lambda columns: quantile_pairs(columns, 0.05)):
        low, high = make(values)(0.9)
        for place, (i, j) in enumerate(zip(*np.triu_indices(4, 1), strict=True)):
            one = make(values[:, [i, j]])(0.9)
            other = make(values[:, [j, i]])(0.9)
            assert (low[place], high[place]) == pytest.approx((one[0][0], one[1][0]))
            assert (low[place], high[place]) == pytest.approx((-other[1][0], -other[0][0]))


def test_difference_of_quantiles_contains_numpys_difference():
    values = columns()[0][:, :2]
    low, high = quantile_pairs(values, 0.05)(0.95)
    found = np.quantile(values, 0.05, axis=0)
    assert low[0] < found[1] - found[0] < high[0]
    assert (low[0] + high[0]) / 2 == pytest.approx(found[1] - found[0])


@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_spread_of_a_quantile_is_that_of_plain_resampling(share):
    """The quantiles of 400 resamples, taken by numpy, spread as those that are counted."""
    values = np.random.default_rng(0).gamma(2.0, size=(200, 2))
    low, high = quantile_pairs(values, share)(0.95)
    rng = np.random.default_rng(200)
    resamples = [values[rng.integers(0, 200, 200)] for _ in range(400)]
    spread = np.std([np.subtract(*np.quantile(each, share, axis=0)) for each in resamples], ddof=1)
    half = stats.t.ppf(0.975, max(1, min(share, 1 - share) * 200 - 1)) * spread
    assert (high[0] - low[0]) / 2 == pytest.approx(half)


# Columns of solvers


def test_holms_procedure_is_that_of_its_definition():
    """Reject ordered p-values p_(r) while p_(r) <= alpha / (m - r + 1)."""
    rng = np.random.default_rng(4)
    difficulty = rng.normal(size=(200, 1))
    values = np.concatenate([difficulty, difficulty]) + np.concatenate([(half := rng.normal(size=(200, 6))), -half])
    values += [0.0, 0.1, 0.2, 0.25, 0.3, 0.6]
    i, j = np.triu_indices(6, 1)
    p = stats.ttest_rel(values[:, i], values[:, j]).pvalue
    order, m = np.argsort(p), len(p)
    rejected = np.cumprod([p[k] <= 0.05 / (m - r) for r, k in enumerate(order)]).astype(bool)
    expected = {(int(i[k]), int(j[k])) for k in order[rejected]}
    above = separations(mean_pairs(values), 6)
    assert {tuple(sorted(pair)) for pair in np.argwhere(above).tolist()} == expected
    assert 3 < len(expected) < m
    assert all(values[:, a].mean() > values[:, b].mean() for a, b in np.argwhere(above))


@pytest.mark.parametrize("n", [48, 1000])
@pytest.mark.parametrize(
    ("make", "measure"),
    [
        (mean_pairs, lambda values: values.mean(axis=0)),
        (decibels_of_mean_pairs, lambda values: np.array([decibels_of_mean(each) for each in values.T])),
        (lambda values: quantile_pairs(values, 0.05), lambda values: np.quantile(values, 0.05, axis=0)),
    ],
    ids=["mean", "mse", "p05"],
)
def test_of_equal_solvers_at_most_one_column_in_twenty_shows_a_separable_one(make, measure, n):
    """Recorded values of up to 19 solvers, moved so that all have the same measure, and drawn again together.

    400 columns; the bound is 5 % and two standard errors of the simulation.
    """
    rng = np.random.default_rng(7)
    fields = [values[:, :19] for values in columns() if len(values) >= n]
    wrong = 0
    for column in range(400):
        values = fields[column % len(fields)]
        drawn = (values - measure(values))[rng.integers(0, len(values), n)]
        wrong += bool(separations(make(drawn), drawn.shape[1]).any())
    assert wrong <= 400 * 0.05 + 2 * math.sqrt(400 * 0.05 * 0.95)


def test_solvers_that_differ_are_still_told_apart():
    """An unadjusted paired t-test separates 990 solvers from the best of their column."""
    plain = kept = 0
    for values in columns():
        best = int(values.mean(axis=0).argmax())
        pairs = [paired(values[:, k], values[:, best]) for k in range(values.shape[1]) if k != best]
        plain += sum(pair.separable for pair in pairs)
        kept += int(separations(mean_pairs(values), values.shape[1])[best].sum())
    assert plain > 900
    assert kept >= 0.95 * plain


def test_equal_distributions_have_distances_that_cannot_be_told_apart():
    """FIDs of 8 solvers from the same distribution, most of each sample in common: at most one column in twenty."""
    n, d, k, replicates = 60, 2, 8, 100
    rng, wrong = np.random.default_rng(5), 0
    indices = np.random.default_rng(n).integers(0, n, (replicates, n))
    for column in range(400):
        features = gaussians(rng, n, d, k, (0.0, 0.9, 0.99)[column % 3])
        wrong += bool(separations(replicate_pairs(frechet(features), fid_replicates(features, indices)), k).any())
    assert wrong <= 400 * 0.05 + 2 * math.sqrt(400 * 0.05 * 0.95)


def test_pairing_tells_distances_apart_that_intervals_of_their_own_do_not():
    n = 200
    features = gaussians(np.random.default_rng(6), n, 3, 2, 0.999, shift=[0.0, 0.02])
    indices = np.random.default_rng(n).integers(0, n, (100, n))
    values, replicates = frechet(features), fid_replicates(features, indices)
    first, second = (replicate_interval(float(values[k]), replicates[:, k]) for k in (0, 1))
    assert second[0] < first[1]
    assert separations(replicate_pairs(values, replicates), 2).tolist() == [[False, False], [True, False]]


@pytest.mark.parametrize("k", [0, 1])
def test_one_solver_is_told_from_no_other(k):
    assert not separations(mean_pairs(np.zeros((5, k))), k).any()


def test_solvers_that_do_not_differ_at_all_are_tied_and_constant_differences_are_not():
    values = np.arange(10.0)[:, None] + np.array([0.0, 0.0, 1.0])
    above = separations(mean_pairs(values), 3)
    assert above.tolist() == [[False] * 3, [False] * 3, [True, True, False]]


@pytest.mark.parametrize("seed", range(4))
def test_pairs_at_once_are_as_each_difference_by_itself(seed):
    """Products of columns give the moments that the differences have, also of columns that are equal or next to equal."""
    rng = np.random.default_rng(seed)
    values = np.asarray(20.0 + rng.standard_normal((50, 1)) * 4 + rng.exponential(1.0, (50, 6)))
    values[:, 3] = values[:, 1]
    values[:, 4] = values[:, 1] + 1e-5 * rng.standard_normal(50)
    values[:, 5] = values[:, 0] + 0.25
    i, j = np.triu_indices(6, 1)
    for confidence in (0.5, 0.95, 0.9999):
        found = mean_pairs(values)(confidence)
        expected = Moments.of(values[:, j] - values[:, i]).ends(confidence)
        np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-12)
    low, high = (end[(i == 1) & (j == 3)].item() for end in mean_pairs(values)(0.95))
    assert low == high == 0.0


@pytest.mark.parametrize("seed", range(3))
def test_pairs_of_mean_squared_errors_are_as_each_difference_with_the_unseen_sample(seed):
    rng = np.random.default_rng(seed)
    values = np.asarray(20.0 + rng.standard_normal((40, 1)) * 4 + rng.standard_normal((40, 5)))
    errors = 10.0 ** (-values / 10.0)
    shares, levels = errors / errors.mean(axis=0), -np.log(errors.mean(axis=0))
    low, high = decibels_of_mean_pairs(values)(0.95)
    for k, (i, j) in enumerate(zip(*np.triu_indices(5, 1), strict=True)):
        gained = shares[:, i] - shares[:, j]
        lost, won = (np.append(gained, 20.0 * end)[:, None] for end in (min(gained.min(), 0.0), max(gained.max(), 0.0)))
        below, above = Moments.of(lost).ends(0.95)[0][0], Moments.of(won).ends(0.95)[1][0]
        centre = levels[j] - levels[i]
        assert low[k] == pytest.approx(10 / math.log(10) * (centre - np.log1p(-min(below, 0.0))), rel=1e-9)
        assert high[k] == pytest.approx(10 / math.log(10) * (centre + np.log1p(max(above, 0.0))), rel=1e-9)


@pytest.mark.parametrize("n", [1, 2, 3, 20, 21, 1000])
@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.77, 1.0])
def test_quantiles_are_those_of_numpy(n, share):
    values = np.random.default_rng(n).standard_normal((n, 3)).round(1)
    assert quantile(values, share).tolist() == np.quantile(values, share, axis=0).tolist()


@pytest.mark.parametrize(("n", "share"), [(2, 0.05), (30, 0.05), (400, 0.05), (400, 0.9), (31, 0.5)])
def test_quantiles_of_resamples_are_those_of_the_samples_drawn(n, share):
    values = np.random.default_rng(n).standard_normal((n, 2)).round(1)
    rng = np.random.default_rng(n)
    drawn = [rng.integers(0, n, n) for _ in range(400)]
    replicates = np.array([np.quantile(values[each], share, axis=0) for each in drawn])
    freedom = max(1.0, min(share, 1 - share) * n - 1.0)
    half = stats.t.ppf(0.975, freedom) * (replicates[:, 1] - replicates[:, 0]).std(ddof=1)
    centre = np.diff(np.quantile(values, share, axis=0))
    low, high = quantile_pairs(values, share)(0.95)
    assert (low[0], high[0]) == (pytest.approx(centre[0] - half, abs=1e-9), pytest.approx(centre[0] + half, abs=1e-9))
