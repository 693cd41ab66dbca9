"""Traced solvers against torchdiffeq, textbook steps and integrals by SciPy."""

from __future__ import annotations

import functools
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.interpolate import lagrange
from torch import Tensor
from torchdiffeq import odeint

from bnsbench.errors import UsageError
from bnsbench.flows.fields import FunctionField
from bnsbench.flows.paths import EDM, VP, CondOT, Cosine
from bnsbench.flows.predictions import to_data, to_noise
from bnsbench.nonstationary.tracing import trace
from bnsbench.solvers.deis import deis

PATHS = [(CondOT(), (0.0, 1.0)), (Cosine(), (0.0, 1.0)), (VP(), (0.0, 0.999)), (EDM(0.002, 10.0), (0.0, 1.0))]


def traced(sampler, nfe, field):
    return trace(functools.partial(sampler, nfe=nfe), field.path, field.interval)


@pytest.mark.parametrize(("path", "interval"), PATHS)
@pytest.mark.parametrize(
    ("name", "method", "stages"),
    [("euler", "euler", 1), ("midpoint", "midpoint", 2), ("heun", "heun2", 2), ("rk38", "rk4", 4)],
)
def test_runge_kutta_against_torchdiffeq(mixture, start, solver, deviation, path, interval, name, method, stages):
    """Torchdiffeq's "rk4" is the 3/8 rule."""
    field, steps = mixture(path, interval), 5
    grid = torch.linspace(interval[0], interval[1], steps + 1, dtype=torch.float64)
    x0 = start(path, interval)
    expected = odeint(field, x0, grid, method=method)[-1]
    assert deviation(traced(solver(name), stages * steps, field)(field, x0), expected) < 1e-12


def ralston_step(f, s, h, x):
    k1 = f(s, x)
    k2 = f(s + 2 * h / 3, x + 2 * h / 3 * k1)
    return x + h * (k1 + 3 * k2) / 4


def rk3_step(f, s, h, x):
    k1 = f(s, x)
    k2 = f(s + h / 2, x + h / 2 * k1)
    k3 = f(s + h, x + h * (2 * k2 - k1))
    return x + h * (k1 + 4 * k2 + k3) / 6


def rk4_step(f, s, h, x):
    k1 = f(s, x)
    k2 = f(s + h / 2, x + h / 2 * k1)
    k3 = f(s + h / 2, x + h / 2 * k2)
    k4 = f(s + h, x + h * k3)
    return x + h * (k1 + 2 * k2 + 2 * k3 + k4) / 6


@pytest.mark.parametrize(("path", "interval"), PATHS)
@pytest.mark.parametrize(
    ("name", "step", "stages"), [("ralston", ralston_step, 2), ("rk3", rk3_step, 3), ("rk4", rk4_step, 4)]
)
def test_runge_kutta_against_textbook_steps(mixture, start, solver, deviation, path, interval, name, step, stages):
    field, steps = mixture(path, interval), 5
    x0 = x = start(path, interval)
    for s, t in pairwise(torch.linspace(interval[0], interval[1], steps + 1, dtype=torch.float64)):
        x = step(field, s, t - s, x)
    assert deviation(traced(solver(name), stages * steps, field)(field, x0), x) < 1e-12


def deis_by_scipy(field, times, x, order, variable):
    """x_t = alpha_t / alpha_s x + sum_j epsilon_j alpha_t int_s^t l_j d(sigma / alpha), with the integral over time.

    From alpha = 0 the first step is DDIM's; its value stays among the nodes in time, and has no place among those in rho.
    """
    path = field.path
    past: list[tuple[float, Tensor]] = []

    def rho(t):
        return float(path.sigma(t) / path.alpha(t))

    def d_rho(t):
        return float((path.d_sigma(t) * path.alpha(t) - path.sigma(t) * path.d_alpha(t)) / path.alpha(t) ** 2)

    along = {"time": float, "rho": rho, "logsnr": lambda t: float(path.log_snr(t))}[variable]
    for s, t in pairwise(times):
        u = field(s, x)
        past = [*past, (along(s), to_noise(path, s, x, u))][-order:]
        if path.alpha(s) == 0:
            x = path.alpha(t) * to_data(path, s, x, u) + path.sigma(t) * past[-1][1]
            past = past if variable == "time" else []
            continue
        nodes = [node for node, _ in past]
        x = path.alpha(t) / path.alpha(s) * x
        for j, (_, noise) in enumerate(past):
            polynomial = lagrange(nodes, np.eye(len(nodes))[j])
            integral = quad(
                lambda tau, p=polynomial: p(along(tau)) * d_rho(tau), float(s), float(t), epsabs=1e-12, limit=200
            )[0]
            x = x + path.alpha(t) * integral * noise
    return x


@pytest.mark.parametrize(
    ("path", "interval"),
    [(VP(), (0.0, 0.99)), (CondOT(), (0.1, 1.0)), (Cosine(), (0.1, 1.0)), (CondOT(), (0.0, 1.0)), (Cosine(), (0.0, 0.9))],
)
@pytest.mark.parametrize("variable", ["time", "rho"])
@pytest.mark.parametrize("order", [2, 4])
def test_deis_against_integrals_by_scipy(mixture, start, solver, deviation, path, interval, variable, order):
    """The paper's polynomials in time and in rho, which stay of full order in a last step to sigma = 0."""
    field = mixture(path, interval)
    x0 = start(path, interval)
    table = traced(solver("deis", order=order, variable=variable), 6, field)
    expected = deis_by_scipy(field, table.times, x0, order, variable)
    assert deviation(table(field, x0), expected) < 1e-7


def test_deis_in_time_extrapolates_from_where_the_state_is_noise_alone():
    """On CondOT from t = 0, in closed form: the second of two steps, of whose polynomial the noise at t = 0 is a node.

    C_0 and C_1 are the integrals from 1/2 to 1 of l_j(t) d rho with rho = 1 / t - 1, l_0 = 1 - 2 t and l_1 = 2 t.
    """
    field = FunctionField(lambda t, x: torch.sin(3 * x) + t, CondOT(), (0.0, 1.0))
    x0 = torch.linspace(-1, 1, 7, dtype=torch.float64)[:, None]
    u0 = field(torch.tensor(0.0, dtype=torch.float64), x0)
    x1 = 0.5 * x0 + 0.5 * (x0 + u0)
    noises = x0, x1 - 0.5 * field(torch.tensor(0.5, dtype=torch.float64), x1)
    expected = 2 * x1 + (2 * math.log(2) - 1) * noises[0] - 2 * math.log(2) * noises[1]
    torch.testing.assert_close(deis(field, x0, 2, order=2, variable="time"), expected)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("unipc", {"order": 4}),
        ("unipc", {"variant": "bh3"}),
        ("deis", {"order": 0}),
        ("deis", {"variable": "sigma"}),
        ("ipndm", {"order": 5}),
        ("ipndm-v", {"order": 0}),
        ("er-sde", {"order": 4}),
        ("sa-solver", {"predictor_order": 5}),
        ("sa-solver", {"corrector_order": 6}),
        ("res-2s", {"c2": 1.5}),
        ("stork2", {"derivatives": 3}),
        ("stork2", {"s": 1}),
    ],
)
def test_unknown_orders_and_variants_are_named(mixture, start, solver, name, parameters):
    with pytest.raises(UsageError, match=str(next(iter(parameters.values())))):
        solver(name, **parameters)(mixture(CondOT()), start(CondOT()), 4)
