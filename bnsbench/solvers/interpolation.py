"""Polynomials through past values, and their integrals: what multistep methods are made of."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

_POINTS, _WEIGHTS = (torch.from_numpy(column) for column in np.polynomial.legendre.leggauss(64))


def lagrange(nodes: Tensor, x: Tensor) -> Tensor:
    """The Lagrange polynomials l_j(x) = prod_{k != j} (x - x_k) / (x_j - x_k), 1 at their own node and 0 at the others.

    Args:
        nodes: Distinct nodes x_j, float64 [nodes].
        x: Where to evaluate, float64 [...].

    Returns:
        Their values, float64 [nodes, ...].
    """
    values = torch.ones(len(nodes), *x.shape, dtype=torch.float64)
    for j, node in enumerate(nodes):
        for k, other in enumerate(nodes):
            if k != j:
                values[j] *= (x - other) / (node - other)
    return values


def quadrature(low: float, high: float) -> tuple[Tensor, Tensor]:
    """The Gauss-Legendre rule with 64 points, exact for polynomials up to degree 127.

    Args:
        low: Where the integral begins.
        high: Where it ends; below ``low`` it has the opposite sign.

    Returns:
        Points and weights, float64 [64] each.
    """
    half = 0.5 * (high - low)
    return low + half * (_POINTS + 1.0), half * _WEIGHTS
