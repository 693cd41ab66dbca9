"""Lagrange's polynomials and Gauss's rule, against SciPy's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import roots_legendre

from bnsbench.solvers.interpolation import lagrange, quadrature
from tests.solvers.peers import polynomials


@pytest.mark.parametrize("nodes", [[0.4], [0.4, -1.0], [0.0, 0.3, 0.2, 2.0]])
def test_lagrange_polynomials_are_1_at_their_own_node(nodes: list[float]) -> None:
    x = torch.linspace(-1, 2, 9, dtype=torch.float64).reshape(3, 3)
    found = lagrange(torch.tensor(nodes, dtype=torch.float64), x)
    expected = np.array([polynomial(x.numpy()) for polynomial in polynomials(nodes)])
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (0.0, 3.0), (2.5, -0.5)])
def test_quadrature_is_gauss_s_rule_with_64_points(low: float, high: float) -> None:
    points, weights = quadrature(low, high)
    roots, shares = roots_legendre(64)
    np.testing.assert_allclose(points.numpy(), (low + high) / 2 + (high - low) / 2 * roots, rtol=0, atol=1e-14)
    np.testing.assert_allclose(weights.numpy(), (high - low) / 2 * shares, rtol=0, atol=1e-14)


def test_quadrature_is_exact_up_to_degree_127() -> None:
    points, weights = quadrature(0.0, 1.0)
    for degree in (0, 1, 64, 127):
        assert float(weights @ points**degree) == pytest.approx(1 / (degree + 1), rel=1e-12)
