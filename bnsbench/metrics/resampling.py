"""Bootstrap replicates of metrics that compare whole sets: their values of resampled samples, from features computed once.

Resample b of n samples depends on (n, b) alone, so replicate b of one solver and replicate b of another are a pair, and
their differences tell what the choice of samples does to the difference of the solvers (Efron & Tibshirani 1993).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from bnsbench.truth.noise import stream_seed

COUNT = 100
FEWEST = 10
"""Of fewer samples, resamples may hold one sample only."""
WIDEST = 256
"""Features of which a hundred Frechet distances take about a second; the cost grows with the cube of their number."""
MOST_PAIRS = 200_000_000
"""Pairs of samples whose kernels or distances take about as long as the value itself."""
BLOCK = 2**22
"""Numbers that are looked at together."""
NEAREST = 40
"""Neighbours among which a resample has its third nearest: that fewer than four are drawn of them has probability 1e-13."""

EDGE = 1e-6
"""Of a radius: what lies so near to the edge of an open ball lies on it, and thus outside, whatever rounding says."""


@lru_cache(maxsize=4)
def resamples(n: int) -> Tensor:
    """Return the indices [100, n] of the resamples of n samples."""
    rows = [np.random.default_rng(stream_seed("bootstrap", n, b)).integers(n, size=n) for b in range(COUNT)]
    return torch.from_numpy(np.stack(rows))


@lru_cache(maxsize=4)
def weights(n: int) -> Tensor:
    """Return how often each of n samples is in each resample [100, n], float64."""
    return torch.stack([torch.bincount(row, minlength=n) for row in resamples(n)]).double()


Moments = tuple[Tensor, Tensor]
"""Means [..., width] and covariances [..., width, width], or factors F of covariances F F^T."""


def moments(features: Tensor, drawn: Tensor | None = None) -> Moments:
    """Return mean and covariance, in float64, of features [n, width] counted as often as drawn [b, n] says, once if None.

    Every row of drawn sums up to n.
    """
    x = features.double()
    drawn = torch.ones(1, len(x), dtype=torch.float64) if drawn is None else drawn
    n, centre = len(x), x.mean(dim=0)
    x = x - centre
    shift = drawn @ x / n
    upper = torch.zeros(len(drawn), x.shape[1], x.shape[1], dtype=torch.float64)
    for row in range(x.shape[1]):
        upper[:, row, row:] = drawn @ (x[:, row : row + 1] * x[:, row:])
    covariance = (upper + upper.triu(1).mT - n * shift[:, :, None] * shift[:, None, :]) / (n - 1)
    return centre + shift, covariance


def factored(found: Moments) -> Moments:
    """Return means and factors F of covariances F F^T."""
    values, vectors = torch.linalg.eigh(found[1])
    return found[0], vectors * values.clamp_min(0.0).sqrt()[..., None, :]


def frechet_distances(made: Moments, reference: Moments) -> Tensor:
    """Return |m_1 - m_2|^2 + tr(S_1 + S_2 - 2 (S_1 S_2)^1/2) [b] of means and covariances to means and factors of S_2.

    S_1 S_2 and F^T S_1 F have the same eigenvalues, and the latter is symmetric.
    """
    (mean, covariance), (centre, factor) = made, reference
    roots = torch.linalg.eigvalsh(factor.mT @ covariance @ factor).clamp_min(0.0).sqrt().sum(dim=-1)
    traces = covariance.diagonal(dim1=-2, dim2=-1).sum(dim=-1) + factor.square().sum(dim=(-2, -1))
    found: Tensor = (mean - centre).square().sum(dim=-1) + traces - 2.0 * roots
    return found.clamp_min(0.0)


def kernel_replicates(features: Tensor, reference: Tensor, paired: bool) -> Tensor:
    """Return squared maximum mean discrepancies [100] under KID's kernel k(a, b) = (a b / width + 1)^3 of resamples.

    All samples are compared, not subsets. With w_i how often sample i is drawn, means over pairs leave out those of a sample
    with its own copies, which would add k(a, a): sum_{i != j} w_i w_j k_ij / (n^2 - sum w_i^2). So the replicates scatter
    about the estimate itself and not about a larger one.

    Args:
        features: Of the samples [n, width].
        reference: Of the reference [m, width].
        paired: Whether the reference is resampled with the samples, row by row, as the ground truth of the same noise is.
    """
    # MMD^2 = E k(x, x') + E k(y, y') - 2 E k(x, y)
    x, y = features.double(), reference.double()
    n, drawn = len(x), weights(len(x))
    within = _pairs(x, x, drawn)
    if not paired:
        between = drawn @ _means(x, y) / n
        return within + _pairs(y, y, torch.ones(1, len(y), dtype=torch.float64)) - 2.0 * between
    # E k(x, y) of pairs: (n - 1) / n of the mean over i != j, and 1 / n of the mean of w_i k(x_i, y_i).
    own = drawn @ cubic(x[:, None, :], y[:, :, None]).flatten() / n
    between = (n - 1) / n * _pairs(x, y, drawn) + own / n
    return within + _pairs(y, y, drawn) - 2.0 * between


def cubic(a: Tensor, b: Tensor) -> Tensor:
    """Return KID's kernel (a b / width + 1)^3 of features [..., n, width] and, transposed, [..., width, m]."""
    kernel: Tensor = (a @ b / a.shape[-1] + 1.0) ** 3
    return kernel


def _pairs(x: Tensor, y: Tensor, drawn: Tensor) -> Tensor:
    """Return sum_{i != j} w_i w_j k(x_i, y_j) / (n^2 - sum w_i^2) for the weights [b, n] in each row of drawn."""
    n, total = len(x), torch.zeros(len(drawn), dtype=torch.float64)
    for rows in _blocks(n, len(y)):
        kernel = cubic(x[rows], y.T)
        kernel.diagonal(rows.start).zero_()
        total += ((drawn[:, rows] @ kernel) * drawn).sum(dim=1)
    return total / (n**2 - drawn.square().sum(dim=1))


def _means(x: Tensor, y: Tensor) -> Tensor:
    """Return the means over j of k(x_i, y_j) [n]."""
    return torch.cat([cubic(x[rows], y.T).mean(dim=1) for rows in _blocks(len(x), len(y))])


def precision_replicates(features: Tensor, reference: Tensor, neighbours: int) -> Tensor:
    """Return the shares [100] of resampled samples that lie within the reach of one of the reference.

    Args:
        features: Of the samples [n, width].
        reference: Of the reference [m, width].
        neighbours: The rank k; the reach of a point is the distance to its k-th nearest neighbour in its own set.
    """
    # The nearest neighbour of all is the point itself, hence k + 1.
    reach = torch.cat(
        [
            torch.cdist(reference[rows], reference).kthvalue(neighbours + 1).values
            for rows in _blocks(len(reference), len(reference))
        ]
    )
    near = torch.cat(
        [(torch.cdist(features[rows], reference) <= reach).any(dim=1) for rows in _blocks(len(features), len(reference))]
    )
    return weights(len(features)) @ near.double() / len(features)


def densities(features: Tensor, reference: Tensor, drawn: Tensor, neighbours: int, paired: bool = False) -> Tensor:
    """Return the densities [b] of samples that are counted as often as drawn [b, n] says: mean numbers, over k, of balls.

    Args:
        features: Of the samples [n, width].
        reference: Of the reference [m, width]; the ball of each of its points ends at its k-th nearest neighbour in it.
        drawn: Weights, of which every row sums up to n; of float64.
        neighbours: The rank k.
        paired: Whether the reference is the ground truth of the same noise, row by row: then the reference for a sample is
            all but its own ground truth, near which it lies however the others are distributed.
    """
    around = torch.zeros(len(features), dtype=torch.float64)
    for near in _near(features, reference, neighbours, paired):
        around += near.sum(dim=0)
    return drawn @ around / (neighbours * len(features))


def coverages(features: Tensor, reference: Tensor, drawn: Tensor, neighbours: int, paired: bool = False) -> Tensor:
    """Return the shares [b] of balls of the reference that hold one of the samples drawn [b, n]; see `densities`."""
    there = (drawn > 0).float()
    found = torch.zeros(len(drawn), dtype=torch.float64)
    for near in _near(features, reference, neighbours, paired):
        found += (there @ near.float().T > 0).sum(dim=1)
    return found / len(reference)


def _near(features: Tensor, reference: Tensor, neighbours: int, paired: bool) -> Iterator[Tensor]:
    """Yield, for blocks of the reference, which samples lie in the open ball of each point [rows, n]."""
    x, y = features.double(), reference.double()
    for rows in _blocks(len(y), max(len(x), len(y))):
        within = torch.cdist(y[rows], y)
        # The nearest neighbour of all is the point itself, hence k + 1.
        nearest = within.topk(min(neighbours + 2, len(y)), largest=False).values
        reach = nearest[:, neighbours, None]
        if paired:
            # Without sample j's own truth, the k-th neighbour of a point is the next one where that truth was among k.
            reach = torch.where(within <= reach, nearest[:, -1:], reach)
            reach.diagonal(rows.start).zero_()
        yield torch.cdist(y[rows], x) < reach * (1.0 - EDGE)


def recall_replicates(features: Tensor, reference: Tensor, neighbours: int) -> Tensor:
    """Return the shares [100] of the reference that lie within the reach of a resampled sample.

    Args:
        features: Of the samples [n, width].
        reference: Of the reference [m, width].
        neighbours: The rank k; a sample's reach is the distance to its k-th nearest neighbour among the resampled ones, its
            own copies included.
    """
    drawn = weights(len(features))
    reach = _reaches(features, drawn, neighbours)
    farthest = reach.amax(dim=0)
    found = torch.zeros(COUNT, dtype=torch.float64)
    for rows in _blocks(len(reference), len(features)):
        distances = torch.cdist(reference[rows], features)
        real, made = (distances <= farthest).nonzero(as_tuple=True)
        close = distances[real, made]
        for b in range(COUNT):
            within = torch.zeros(len(distances), dtype=torch.bool)
            within[real[close <= reach[b, made]]] = True
            found[b] += within.sum()
    return found / len(reference)


def _reaches(features: Tensor, drawn: Tensor, neighbours: int) -> Tensor:
    """Return each sample's reach in each resample [b, n], -1 where it is not drawn."""
    n = len(features)
    nearest = [torch.cdist(features[rows], features).topk(min(n, NEAREST), largest=False) for rows in _blocks(n, n)]
    distances, indices = torch.cat([part.values for part in nearest]), torch.cat([part.indices for part in nearest])
    reach = torch.empty(len(drawn), n, dtype=features.dtype)
    for b, row in enumerate(drawn):
        # The rank counts every copy; the sample itself is the first.
        place = (row[indices].cumsum(dim=1) > neighbours).int().argmax(dim=1, keepdim=True)
        reach[b] = torch.where(row > 0, distances.gather(1, place)[:, 0], -1.0)
    return reach


def inception_replicates(logits: Tensor, splits: int, seed: int) -> Tensor:
    """Return the Inception Scores [100] of resampled logits [n, classes], means over parts of a shuffled resample.

    With p_i the predictions and q their mean in a part, the score exp(mean KL(p_i || q)) is
    exp(mean sum p_i log p_i - sum q log q), of which only means change with the resample.

    Args:
        logits: Of the samples [n, classes].
        splits: The number of parts.
        seed: Of the shuffling.
    """
    p, log_p = (function(logits.double(), dim=1) for function in (torch.softmax, torch.log_softmax))
    order = torch.from_numpy(np.random.RandomState(seed).permutation(len(p)))
    starts = torch.tensor([part * len(p) // splits for part in range(splits + 1)])
    sizes = starts.diff().double()
    part = torch.arange(splits).repeat_interleave(starts.diff())
    information = (p * log_p).sum(dim=1, keepdim=True)
    found = torch.empty(COUNT, dtype=torch.float64)
    for b, row in enumerate(resamples(len(p))):
        shares = torch.zeros(splits, len(p), dtype=torch.float64)
        shares.index_put_((part, row[order]), 1.0 / sizes[part], accumulate=True)
        # q, and the score of each part
        q = shares @ p
        found[b] = ((shares @ information)[:, 0] - torch.xlogy(q, q).sum(dim=1)).exp().mean()
    return found


def _blocks(n: int, m: int) -> list[slice]:
    """Return the n rows of a matrix with m columns in blocks of bounded size."""
    size = max(1, BLOCK // m)
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]
