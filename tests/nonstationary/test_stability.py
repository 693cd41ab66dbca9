"""How tables amplify errors, against polynomials written down by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.polynomial import Polynomial

from bnsbench.flows.paths import CondOT
from bnsbench.nonstationary.stability import noise_gains, stability, stability_limit
from bnsbench.nonstationary.table import NonStationarySolver
from bnsbench.nonstationary.tracing import trace
from bnsbench.solvers.adams_bashforth import ab2
from bnsbench.solvers.runge_kutta import euler, heun, midpoint, rk4

Z = torch.tensor([[0.5, 0.0, -1.0], [-4.0, -13.0, -40.0]], dtype=torch.float64)
COMPLEX = torch.tensor([1j, -3 + 2j, -20 - 5j], dtype=torch.complex128)


def traced(rule, nfe, interval=(0.0, 1.0)):
    return trace(lambda field, x0: rule(field, x0, nfe), CondOT(), interval)


def table(a, b, times=None):
    a, b = torch.tensor(a), torch.tensor(b)
    return NonStationarySolver(torch.linspace(0, 1, len(a) + 1) if times is None else torch.tensor(times), a, b)


def runge_kutta(stages, nfe):
    """R of nfe / stages equal steps of a method whose order is its number of stages."""
    steps = nfe // stages
    return Polynomial([1 / math.factorial(k) / steps**k for k in range(stages + 1)]) ** steps


def adams_bashforth(nfe):
    h = Polynomial([0, 1 / nfe])
    states = [Polynomial([1]), 1 + h]
    for _ in range(nfe - 1):
        states.append(states[-1] + h * (1.5 * states[-1] - 0.5 * states[-2]))
    return states[-1]


RULES = [
    (euler, 1, runge_kutta(1, 1)),
    (euler, 8, runge_kutta(1, 8)),
    (midpoint, 8, runge_kutta(2, 8)),
    (heun, 6, runge_kutta(2, 6)),
    (rk4, 8, runge_kutta(4, 8)),
    (ab2, 2, Polynomial([1, 1, 3 / 8])),
    (ab2, 7, adams_bashforth(7)),
]


@pytest.mark.parametrize("z", [Z, COMPLEX])
@pytest.mark.parametrize(("rule", "nfe", "expected"), RULES)
@pytest.mark.parametrize("interval", [(0.0, 1.0), (0.1, 0.4)])
def test_stability_function(rule, nfe, expected, interval, z):
    found = stability(traced(rule, nfe, interval), z)
    assert (found.shape, found.dtype) == (z.shape, z.dtype)
    np.testing.assert_allclose(found, expected(z.numpy()), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("z", "dtype"), [(-1.3, torch.float64), (-1.3 + 0.2j, torch.complex128)])
def test_stability_function_of_a_number(z, dtype):
    found = stability(traced(euler, 3), z)
    assert (found.shape, found.dtype) == ((), dtype)
    assert found.item() == pytest.approx((1 + z / 3) ** 3, abs=1e-15)


def test_stability_function_of_any_table():
    solver = table([0.5, 0.75], [[2.0, 0.0], [-1.0, 4.0]], times=[0.0, 1.0, 2.0])
    rate = Z / 2
    assert stability(solver, Z).tolist() == (0.75 - rate + 4 * rate * (0.5 + 2 * rate)).tolist()


def test_it_is_what_the_engine_does():
    solver, z = traced(rk4, 8), -2.5
    end = solver(lambda t, x: z * x, torch.ones(1, 1, dtype=torch.float64))
    assert float(stability(solver, z)) == pytest.approx(end.item(), abs=1e-14)


def real_limit(polynomial):
    """Return the smallest decay > 0 at which |R| crosses 1, from the roots of R = 1 and R = -1."""
    roots = np.concatenate([(polynomial - 1).roots(), (polynomial + 1).roots()])
    decays = np.sort(-roots[np.abs(roots.imag) < 1e-9].real)
    return next(decay for decay in decays if decay > 1e-9 and abs(polynomial(-1.0001 * decay)) > 1)


@pytest.mark.parametrize(
    ("rule", "nfe", "limit"),
    [
        *((euler, n, 2 * n) for n in (1, 5, 8, 40)),
        *((midpoint, n, n) for n in (2, 8, 20)),
        (heun, 8, 8),
        *((rk4, n, 2.785293563405282 * n / 4) for n in (4, 16)),
        (ab2, 2, real_limit(Polynomial([1, 1, 3 / 8]))),
        (ab2, 6, real_limit(adams_bashforth(6))),
        (ab2, 7, real_limit(adams_bashforth(7))),
    ],
)
def test_stability_limit(rule, nfe, limit):
    assert stability_limit(traced(rule, nfe)) == pytest.approx(limit, rel=1e-7)


def test_limit_of_a_function_that_only_touches_minus_one():
    # R = 1 + z + z^2 / 8, the Chebyshev polynomial T_2(1 + z / 4), is -1 at z = -4, and has the largest limit, 2 n^2.
    assert stability_limit(table([1.0, 1.0], [[0.125, 0.0], [0.0, 1.0]])) == pytest.approx(8, rel=1e-7)


def test_limit_is_meant_beyond_what_the_start_alone_grows():
    assert stability_limit(table([1.25], [[0.5]])) == pytest.approx(5, rel=1e-7)
    assert stability_limit(table([0.5], [[0.5]])) == pytest.approx(3, rel=1e-7)


def test_extreme_limits():
    assert stability_limit(table([0.5], [[0.0]])) == math.inf
    assert stability_limit(table([1.0], [[-1.0]])) < 1e-8
    assert stability_limit(traced(euler, 150)) == pytest.approx(300, rel=1e-7)  # R overflows further on


@pytest.mark.parametrize("interval", [(0.0, 1.0), (0.1, 0.4)])
def test_noise_gain_of_euler_and_heun(interval):
    gains = noise_gains(traced(euler, 9, interval))
    assert gains.tolist() == pytest.approx([(i + 1) ** 0.5 / 9 for i in range(9)])
    stage = (6 / 64 + 1 / 16) ** 0.5
    assert noise_gains(traced(heun, 8, interval))[-2:].tolist() == pytest.approx([stage, 8**-0.5])


def test_noise_gain_is_what_single_errors_do_together():
    solver = traced(rk4, 8, (0.0, 0.5))
    calls = iter(torch.eye(8, dtype=torch.float64))
    # Sample k meets a field that is wrong by 1 in its k-th evaluation, and zero otherwise.
    moved = solver(lambda t, x: next(calls)[:, None].clone(), torch.zeros(8, 1, dtype=torch.float64))
    assert float(noise_gains(solver)[-1]) == pytest.approx(float(moved.norm()) / 0.5)
