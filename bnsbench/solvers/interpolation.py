"""Polynomials through past values, and their integrals: what multistep methods are made of."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

_POINTS, _WEIGHTS = (torch.from_numpy(column) for column in np.polynomial.legendre.leggauss(64))


def lagrange(nodes: Tensor, x: Tensor) -> Tensor:
    """Return the Lagrange polynomials [nodes, ...] of distinct float64 nodes [nodes] at x [...]."""
    values = torch.ones(len(nodes), *x.shape, dtype=torch.float64)
    for j, node in enumerate(nodes):
        for k, other in enumerate(nodes):
            if k != j:
                values[j] *= (x - other) / (node - other)
    return values


def quadrature(low: float, high: float) -> tuple[Tensor, Tensor]:
    """Return float64 points [64] and weights [64] of the Gauss-Legendre rule on [low, high]; high < low negates it."""
    half = 0.5 * (high - low)
    return low + half * (_POINTS + 1.0), half * _WEIGHTS
