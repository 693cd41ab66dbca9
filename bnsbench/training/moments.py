"""How far two sets of features are apart as distributions: the Frechet distance, differentiable in one of them.

Samples that are wrong one by one may still look like samples: what they have to share with the truth is the mean and the
covariance of their features.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


class FrechetDistance:
    """The Frechet distance to fixed features, |mu - nu|^2 + tr(S + T - 2 (S T)^1/2) (Heusel et al. 2017), in float64.

    tr (S T)^1/2 is the sum of the singular values of A T^1/2, where A^T A = S: its gradient needs no distinct eigenvalues,
    and no covariance of full rank.

    Args:
        reference: features [m, width] of at least two samples, with mean nu and covariance T.
    """

    def __init__(self, reference: Tensor) -> None:
        found = reference.double().flatten(1)
        self._mean = found.mean(0)
        centred = _centred(found)
        values, vectors = torch.linalg.eigh(centred.T @ centred)
        self._trace = values.sum()
        self._root = (vectors * values.clamp_min(0.0).sqrt()) @ vectors.T

    def __call__(self, features: Tensor) -> Tensor:
        """Return the distance (0-d) of features [n, width] of at least two samples, differentiable in them."""
        found = features.double().flatten(1)
        centred = _centred(found)
        shared = torch.linalg.svdvals(centred @ self._root).sum()
        spread = centred.square().sum() + self._trace - 2.0 * shared
        distance: Tensor = (found.mean(0) - self._mean).square().sum() + spread
        return distance


def _centred(features: Tensor) -> Tensor:
    """Return A [n, width] for which A^T A is the covariance of features [n, width]."""
    return (features - features.mean(0)) / math.sqrt(len(features) - 1)
