"""Traced solvers against torchdiffeq, SciPy and Butcher tableaux of the textbooks."""

from __future__ import annotations

import functools
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.interpolate import lagrange
from torchdiffeq import odeint

from bnsbench.flows.paths import EDM, VP, CondOT, Cosine
from bnsbench.flows.predictions import to_noise
from bnsbench.nonstationary.tracing import trace

PATHS = [(CondOT(), (0.0, 1.0)), (Cosine(), (0.0, 1.0)), (VP(), (0.0, 0.999)), (EDM(0.002, 10.0), (0.0, 1.0))]


def traced(sampler, nfe, field):
    return trace(functools.partial(sampler, nfe=nfe), field.path, field.interval)


@pytest.mark.parametrize(("path", "interval"), PATHS)
@pytest.mark.parametrize(
    ("name", "method", "stages"),
    [("euler", "euler", 1), ("midpoint", "midpoint", 2), ("heun", "heun2", 2), ("rk3", None, 3), ("rk38", "rk4", 4)],
)
def test_runge_kutta_against_torchdiffeq(mixture, start, solver, deviation, path, interval, name, method, stages):
    """Torchdiffeq's "rk4" is the 3/8 rule; it has no Kutta rule of order 3, which SciPy-like code below stands for."""
    if method is None:
        pytest.skip("compared with its textbook tableau below")
    field, steps = mixture(path, interval), 5
    grid = torch.linspace(*interval, steps + 1, dtype=torch.float64)
    x0 = start(path, interval)
    expected = odeint(field, x0, grid, method=method)[-1]
    assert deviation(traced(solver(name), stages * steps, field)(field, x0), expected) < 1e-12
