"""Intervals of means, shares, quantiles and differences over the same noise: every interval of the package is made here.

Samples are independent draws of noise, and solvers are compared sample by sample. Means have Student's interval, extended
where the values are skewed. Which solver is best is known only from the results, so all pairs of solvers are tested at once,
by Holm's procedure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import bdtr, ndtri, stdtrit

CONFIDENCE = 0.95

Floats = NDArray[np.float64]
Ends = tuple[Floats, Floats]
PairIntervals = Callable[[float], Ends]
"""Gives for a confidence the interval of every difference j - i of solvers i < j, in the order of numpy.triu_indices."""

SHRINKAGE = 48.0
"""A sample's skewness falls short of its population's, here by a factor 1 / (1 + 48 / n).

Over recorded PSNRs with a skewness above 1, the quartiles of that factor are 0.32, 0.65 and 0.77 at n = 48, and 0.77, 0.90
and 0.95 at n = 200. With it, intervals of a mean of 48 cover 93.8 % at the 5 % quantile of the cells (Student's: 91.6 %).
"""

UNSEEN = 12.0
"""How many times its worst seen squared error a solver may have on a sample that was not drawn.

With it, intervals of the mean squared error of 48 samples cover 98 % on average, those of a percentile bootstrap 76 %.
"""

UNSEEN_LOSS = 20.0
"""How many times its worst seen loss to another, in squared error, a solver may lose on a sample that was not drawn.

With recorded PSNRs, moved so that all solvers of a column have the same mean squared error, it leaves a separable solver in
4 % of the columns at n = 48 and in 5 % at n = 1,000; without it, in 45 % and 19 %.
"""

NEXT_TO_EQUAL = 1e-6
"""The share of two columns' variances together below which that of their difference may be rounding, to some extent."""

REPLICATES = 400
"""Resamples of which the spread of a quantile is measured."""

TOGETHER = 2**15
"""Numbers that are computed at once, few enough for the processor's cache."""

DECIBELS = 10.0 / math.log(10.0)


@dataclass(frozen=True)
class Moments:
    """Means of n values each with their standard errors, and the skewness of the values, corrected for n; all [m].

    Values that are not significantly skewed have skewness 0, so that their interval is Student's.
    """

    n: int
    mean: Floats
    error: Floats
    skewness: Floats

    @classmethod
    def of(cls, values: Floats) -> Moments:
        """Return the moments of the columns of values [n, m], n >= 2."""
        mean = values.mean(axis=0)
        deviations = values - mean
        squares = np.square(deviations)
        return cls.central(len(values), mean, squares.mean(axis=0), (squares * deviations).mean(axis=0))

    @classmethod
    def central(cls, n: int, mean: Floats, second: Floats, third: Floats) -> Moments:
        """Return the moments of n values with these means and central moments m2 and m3, all [m]."""
        spread = second**1.5
        # g = m3 / m2^(3/2) sqrt(n (n - 1)) / (n - 2), Fisher and Pearson's. Values that do not vary have no skewness.
        skewness = third / np.where(spread > 0.0, spread, np.inf)
        skewness *= math.sqrt(n * (n - 1)) / max(n - 2, 1)
        # The skewness of n normal values has a standard deviation of about sqrt(6 / n).
        significant = np.abs(skewness) > math.sqrt(6.0 / n)
        # The mean's standard error is s / sqrt(n) = sqrt(m2 / (n - 1)).
        return cls(n, mean, np.sqrt(second / (n - 1)), np.where(significant, skewness * (1.0 + SHRINKAGE / n), 0.0))

    def ends(self, confidence: float) -> Ends:
        """Return Student's intervals, each extended on the side to which its values have their tail.

        The quantile of t = (mean - mu) / error under a skewness g is q - g (2 q^2 + 1) / (6 sqrt(n)) to first order
        (Johnson 1978; Hall 1992, section 3.3). The correction is used only where it extends Student's interval: that a tail
        is thin is less certain than that it is thick.
        """
        q = float(stdtrit(self.n - 1, 0.5 + confidence / 2))
        shift = self.skewness * (2 * q * q + 1) / (6 * math.sqrt(self.n))
        # mu = mean - t error: the upper quantile of t gives the lower end, and the other way round.
        low = self.mean - self.error * (q - np.minimum(shift, 0.0))
        return low, self.mean + self.error * (q + np.maximum(shift, 0.0))


def mean_interval(values: ArrayLike, confidence: float = CONFIDENCE) -> tuple[float, float] | tuple[None, None]:
    """Return the interval of the mean of independent values [n]; (None, None) for fewer than two.

    It is Student's, extended on the side of the longer tail where the values are skewed; see `Moments.ends`.
    """
    numbers = np.asarray(values, dtype=np.float64)
    if len(numbers) < 2:
        return None, None
    low, high = Moments.of(numbers[:, None]).ends(confidence)
    return float(low[0]), float(high[0])


def wilson_interval(successes: int, n: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the score interval of a proportion (Wilson 1927).

    Args:
        successes: How many trials succeeded, 0 to n.
        n: Trials, 1 or more.
        confidence: Between 0 and 1.
    """
    # The proportions p with |share - p| <= z sqrt(p (1 - p) / n): between the roots of a quadratic in p.
    z = float(ndtri(0.5 + confidence / 2))
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return centre - half, centre + half


def decibels_of_mean(decibels: ArrayLike) -> float:
    """Return the decibels of the mean squared error, given those of every sample [n]."""
    return float(decibels_of_means(np.asarray(decibels, dtype=np.float64)))


def decibels_of_means(decibels: Floats) -> Floats:
    """Return `decibels_of_mean` of every column of values [n, ...]."""
    return np.asarray(-DECIBELS * np.log(_errors(decibels).mean(axis=0)))


def decibels_of_mean_interval(
    decibels: ArrayLike, confidence: float = CONFIDENCE
) -> tuple[float, float] | tuple[None, None]:
    """Return the interval of `decibels_of_mean`; (None, None) for fewer than two samples.

    A mean squared error depends on a few samples, and the worst may not have been drawn: the lower end allows for one more
    sample with UNSEEN times the worst squared error seen.
    """
    numbers = np.asarray(decibels, dtype=np.float64)
    if len(numbers) < 2:
        return None, None
    low, high = decibels_of_mean_intervals(numbers[:, None], confidence)
    return float(low[0]), float(high[0])


def decibels_of_mean_intervals(decibels: Floats, confidence: float = CONFIDENCE) -> Ends:
    """Return `decibels_of_mean_interval` of every column of values [n, m], n >= 2."""
    errors = _errors(decibels)
    # The interval of u = 1 - e / mean(e), whose mean is 0: for the lower end with the unseen sample, for the upper without.
    more = np.vstack([errors, UNSEEN * errors.max(axis=0)])
    (worse, _), (_, better) = (Moments.of(1.0 - each / each.mean(axis=0)).ends(confidence) for each in (more, errors))
    # A mean that is larger by u has a logarithm that is larger by log(1 + u), which for large u is far less than u.
    low, high = -np.log(more.mean(axis=0)) - np.log1p(-worse), -np.log(errors.mean(axis=0)) + better
    return DECIBELS * low, DECIBELS * high


def quantile(values: Floats, share: float) -> Floats:
    """Return the quantile of every column of values [n, ...], linear between order statistics, as numpy's does."""
    place = share * (len(values) - 1)
    rank, part = math.floor(place), place - math.floor(place)
    above = min(rank + 1, len(values) - 1)
    # Each column lies in one piece, without which partition is several times slower.
    columns = np.partition(np.ascontiguousarray(np.moveaxis(values, 0, -1)), (rank, above), axis=-1)
    first, second = columns[..., rank], columns[..., above]
    # As numpy does, from the nearer end.
    return np.asarray(first + part * (second - first) if part < 0.5 else second - (1 - part) * (second - first))


def quantile_interval(values: ArrayLike, share: float, confidence: float = CONFIDENCE) -> tuple[float | None, float | None]:
    """Return the interval of a quantile of independent values, of any distribution.

    Its ends are order statistics, by the binomial number of values below the quantile; an end is None where even the
    outermost value is too uncertain.

    Args:
        values: [n], in any order.
        share: Of the distribution that lies below the quantile, between 0 and 1.
        confidence: Between 0 and 1.
    """
    numbers = np.sort(np.asarray(values, dtype=np.float64))
    low, high = (float(numbers[k]) if 0 <= k < len(numbers) else None for k in _order_ends(len(numbers), share, confidence))
    return low, high


@lru_cache(maxsize=64)
def _order_ends(n: int, share: float, confidence: float) -> tuple[int, int]:
    """Return the order statistics, counted from 0, between which a quantile of n values lies; -1 or n where none is."""
    tail = (1 - confidence) / 2
    # P(x_(k) > quantile) = P(at most k values lie below it), for k counted from 0.
    below = np.asarray(bdtr(np.arange(n), n, share)) if n else np.empty(0)
    # The highest k for which that is at most the tail, and the lowest for which it is at least one minus the tail.
    return int((below <= tail).sum()) - 1, int((below < 1 - tail).sum())


def replicate_interval(value: float, replicates: ArrayLike, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the interval of the expectation of a figure of n samples, such as FID, from bootstrap replicates of it.

    Of the replicates only the spread is used and not the mean, because resampling adds the bias of FID at n once more. The
    value keeps the bias that it has, as is custom.

    Args:
        value: The figure of the samples themselves.
        replicates: [B], the figure of resampled samples, B >= 2.
        confidence: Between 0 and 1.
    """
    # value +- q s, with s the replicates' standard deviation and Student's q for B - 1 degrees of freedom.
    numbers = np.asarray(replicates, dtype=np.float64)
    half = float(stdtrit(len(numbers) - 1, 0.5 + confidence / 2)) * float(numbers.std(ddof=1))
    return value - half, value + half


@dataclass(frozen=True)
class PairedDifference:
    """The difference b - a of a measure over the same samples with its interval [low, high]."""

    mean: float
    low: float
    high: float

    @property
    def separable(self) -> bool:
        """Whether the interval excludes zero."""
        return not self.low <= 0.0 <= self.high


def paired_difference(a: Sequence[float], b: Sequence[float], confidence: float = CONFIDENCE) -> PairedDifference | None:
    """Return the mean difference b - a of values of the same samples; None if they cannot be paired.

    The interval is `mean_interval`'s of the differences: it covers the choice of noise, not that of model, training or data.

    Args:
        a: Values by sample number, two or more.
        b: As many values of another solver for the same samples.
        confidence: Between 0 and 1.
    """
    if len(a) != len(b) or len(a) < 2:
        return None
    values = np.asarray([a, b], dtype=np.float64).T
    return difference(values.mean(axis=0).tolist(), mean_pairs(values), confidence)


def difference(values: Sequence[float], pairs: PairIntervals, confidence: float = CONFIDENCE) -> PairedDifference:
    """Return the difference of two values with its interval.

    Args:
        values: The figures of the first and the second solver.
        pairs: Gives the interval of their one difference.
        confidence: Between 0 and 1.
    """
    low, high = pairs(confidence)
    return PairedDifference(values[1] - values[0], float(low[0]), float(high[0]))


def mean_pairs(values: Floats) -> PairIntervals:
    """Return the differences of the means of columns [n, k], paired sample by sample, n >= 2."""
    found = _PairMoments.of(values)
    return Moments.central(found.n, found.mean, found.second, found.third).ends


def decibels_of_mean_pairs(decibels: Floats) -> PairIntervals:
    """Return the differences of `decibels_of_mean` of columns [n, k], paired sample by sample, n >= 2.

    Each end allows for one more sample, on which a solver loses UNSEEN_LOSS times what it loses at most on those seen.
    """
    # With squared errors e, their means m and shares s = e / m, the difference j - i is log m_i - log m_j. The paired
    # differences s_i - s_j have mean 0; the interval of this mean is that of the relative error of m_i / m_j.
    errors = _errors(decibels)
    means = errors.mean(axis=0)
    levels, shares = -np.log(means), -errors / means
    i, j = _pairs(decibels.shape[1])
    centre, found = levels[j] - levels[i], _PairMoments.of(shares)
    # For the lower end the worst loss of j is extended, for the upper end its largest gain.
    worst, largest = _extremes(shares)
    lost, won = (found.with_value(UNSEEN_LOSS * end) for end in (np.minimum(worst, 0.0), np.maximum(largest, 0.0)))

    def ends(confidence: float) -> Ends:
        low, high = np.minimum(lost.ends(confidence)[0], 0.0), np.maximum(won.ends(confidence)[1], 0.0)
        # From ratios to decibels: a mean that is larger by u has a logarithm that is larger by log(1 + u).
        return DECIBELS * (centre - np.log1p(-low)), DECIBELS * (centre + np.log1p(high))

    return ends


def quantile_pairs(values: Floats, share: float) -> PairIntervals:
    """Return the differences of the quantile ``share`` of columns [n, k], paired sample by sample, n >= 2.

    Their standard errors are those of REPLICATES resamples of the samples, the same for all columns. A quantile depends on
    the samples that lie beyond it, so Student's distribution has that many degrees of freedom, less one.
    """
    # The same resamples for all columns keep the pairing: what samples have in common cancels in the differences.
    replicates = _quantiles(values, share)
    freedom = max(1.0, min(share, 1 - share) * len(values) - 1.0)
    return _spread_pairs(quantile(values, share), replicates, freedom)


def replicate_pairs(values: Floats, replicates: Floats) -> PairIntervals:
    """Return the differences of values [k] of which there are replicates [B, k] over the same resampled samples.

    Their standard errors are those of the replicates' differences, in which the bias of resampling cancels.
    """
    return _spread_pairs(values, replicates, len(replicates) - 1.0)


def separations(pairs: PairIntervals, k: int, confidence: float = CONFIDENCE) -> NDArray[np.bool_]:
    """Return whether solver i lies above solver j significantly, bool [k, k], for all pairs at once (Holm 1979).

    With probability ``confidence`` no two equal solvers are told apart among all pairs, so that the best may be looked up
    afterwards. It needs no resampling and so no seed, and copes with pairs that differ on few samples, whose resampled t
    would have no quantile.

    Args:
        pairs: Gives the intervals of all k (k - 1) / 2 differences.
        k: The number of solvers.
        confidence: Of all pairs together, between 0 and 1.
    """
    i, j = _pairs(k)
    above = np.zeros((k, k), dtype=np.bool_)
    undecided = np.ones(len(i), dtype=np.bool_)
    while undecided.any():
        # Holm: of m pairs that are left, each is tested at (1 - confidence) / m.
        low, high = pairs(1.0 - (1.0 - confidence) / int(undecided.sum()))
        second, first = undecided & (low > 0.0), undecided & (high < 0.0)
        if not (second | first).any():
            break
        # Decided pairs leave the procedure, so that the others are tested at a lower confidence in the next round.
        above[j[second], i[second]] = True
        above[i[first], j[first]] = True
        undecided &= ~(second | first)
    return above


def _errors(decibels: Floats) -> Floats:
    return np.exp(-decibels / DECIBELS)


@lru_cache(maxsize=64)
def _pairs(k: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return i and j of all pairs i < j of k."""
    i, j = np.triu_indices(k, 1)
    return i, j


@dataclass(frozen=True)
class _PairMoments:
    """Means and central moments m2 and m3 of the differences j - i of n values each, for all pairs i < j of columns."""

    n: int
    mean: Floats
    second: Floats
    third: Floats

    @classmethod
    def of(cls, values: Floats) -> _PairMoments:
        """Return the moments of the pairs of columns of values [n, k], n >= 2.

        They follow from the products of two and of three columns, which cost far less than all differences. Only of columns
        that are next to equal, whose products differ by their rounding, the differences themselves are taken.
        """
        n, (i, j) = len(values), _pairs(values.shape[1])
        means = values.mean(axis=0)
        deviations = values - means
        # E[x_i x_j], and E[x_i^2 x_j] of the deviations x.
        double, triple = deviations.T @ deviations / n, np.square(deviations).T @ deviations / n
        both, mean = double[i, i] + double[j, j], means[j] - means[i]
        second = both - 2.0 * double[i, j]
        third = triple[j, j] - 3.0 * triple[j, i] + 3.0 * triple[i, j] - triple[i, i]
        close = np.flatnonzero(second <= NEXT_TO_EQUAL * both)
        if len(close):
            differences = values[:, j[close]] - values[:, i[close]]
            mean[close] = differences.mean(axis=0)
            differences -= mean[close]
            second[close], third[close] = (differences**2).mean(axis=0), (differences**3).mean(axis=0)
        return cls(n, mean, second, third)

    def with_value(self, value: Floats) -> Moments:
        """Return the moments if every difference had one more value."""
        n, more = self.n, self.n + 1
        shift, beyond = (value - self.mean) / more, (value - self.mean) * n / more
        # From the new mean, the old values deviate by the shift less than they did, and the new one by what is `beyond`.
        second = (n * (self.second + shift**2) + beyond**2) / more
        third = (n * (self.third - 3.0 * shift * self.second - shift**3) + beyond**3) / more
        return Moments.central(more, self.mean + shift, second, third)


def _extremes(values: Floats) -> Ends:
    """Return the smallest and the largest difference j - i of values [n, k], for all pairs i < j of columns."""
    columns = np.ascontiguousarray(values.T)
    rows = [columns[i + 1 :] - columns[i] for i in range(len(columns) - 1)]
    low, high = (np.concatenate([end(row, axis=1) for row in rows]) if rows else np.empty(0) for end in (np.min, np.max))
    return low, high


def _spread_pairs(values: Floats, replicates: Floats, freedom: float) -> PairIntervals:
    # The standard error of v_j - v_i is the spread of the replicates' differences, sample noise in common cancelled.
    i, j = _pairs(len(values))
    found = _PairMoments.of(replicates)
    centre, error = values[j] - values[i], np.sqrt(found.second * found.n / (found.n - 1))

    def ends(confidence: float) -> Ends:
        half = float(stdtrit(freedom, 0.5 + confidence / 2)) * error
        return centre - half, centre + half

    return ends


@lru_cache(maxsize=2)
def _counts(n: int) -> NDArray[np.uint16]:
    """Return how often each of n samples is in each resample [n, REPLICATES]; it depends on n alone."""
    rng = np.random.default_rng(n)
    drawn = [np.bincount(rng.integers(0, n, n), minlength=n).astype(np.uint16) for _ in range(REPLICATES)]
    return np.ascontiguousarray(np.stack(drawn, axis=1))


def _quantiles(values: Floats, share: float) -> Floats:
    """Return the quantiles of every resample of columns [n, k], interpolated as numpy does, [REPLICATES, k]."""
    # numpy's quantile lies between the order statistics of ranks floor(share (n - 1)) and the next.
    place = share * (len(values) - 1)
    rank, part = math.floor(place), place - math.floor(place)
    above = min(rank + 1, len(values) - 1)
    columns = np.ascontiguousarray(values.T)
    # A resample has about as many of the lowest values as there are: its order statistic is hardly ever beyond this.
    length = above + math.ceil(6.0 * math.sqrt(above)) + 8
    while True:
        order = _lowest(columns, min(length, len(values)))
        places = _order_statistics(order, (rank, above), len(values))
        if places is not None:
            low, high = (np.take_along_axis(np.take_along_axis(columns, order, 1), place, 1) for place in places)
            return np.asarray(low + part * (high - low), dtype=np.float64).T
        length *= 2


def _lowest(columns: Floats, length: int) -> NDArray[np.intp]:
    """Return the indices of the lowest values of every row [k, n], in ascending order, equal ones by index, [k, length]."""
    found = np.sort(np.argpartition(columns, length - 1, axis=1)[:, :length], axis=1)
    ascending = np.argsort(np.take_along_axis(columns, found, 1), axis=1, kind="stable")
    return np.take_along_axis(found, ascending, 1)


def _order_statistics(order: NDArray[np.intp], ranks: Sequence[int], n: int) -> list[NDArray[np.intp]] | None:
    """Return the places in an order [k, m] of the lowest of n values at which resamples have their order statistics.

    They are [k, REPLICATES] for every rank (from 0); None if the order ends before. The order statistic of rank r is the
    first value up to which more than r are counted.
    """
    counts = _counts(n)
    whole: Any = np.uint16 if n < 2**16 else np.uint32
    # The first values are counted together, as long as no resample has more than the rank of them.
    start = min(max(0, math.floor(ranks[0] - 4.0 * math.sqrt(ranks[0]))), order.shape[1])
    before = np.stack([np.add.reduce(counts[row], axis=0, dtype=whole) for row in order[:, :start]])
    if int(before.max()) > ranks[0]:
        start, before = 0, np.zeros_like(before)
    passed = [np.full(before.shape, start, dtype=whole) for _ in ranks]
    step = max(1, TOGETHER // before.size)
    for k in range(start, order.shape[1], step):
        counted = counts[order[:, k : k + step].T].astype(whole, copy=False)
        for row in counted:
            before = np.add(row, before, out=row)
        for place, rank in enumerate(ranks):
            passed[place] += np.add.reduce((counted <= rank).view(np.uint8), axis=0, dtype=whole)
        if int(before.min()) > ranks[-1]:
            return [found.astype(np.intp) for found in passed]
    return None
