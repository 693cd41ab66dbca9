"""Measured orders of convergence, on a field that is linear neither in x nor in t."""

from __future__ import annotations

import functools
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from bnsbench.flows.paths import EDM, VE, VP, CondOT, Cosine
from bnsbench.solvers.grids import time_grid
from bnsbench.solvers.specs import SOLVERS

SETTINGS = {
    "condot": (CondOT(), (0.0, 1.0), "chebyshev"),
    "cosine": (Cosine(), (0.0, 1.0), "chebyshev"),
    "condot-inside": (CondOT(), (0.1, 0.9), "uniform"),
    "vp": (VP(), (0.0, 0.95), "uniform"),
    "vp-constant": (VP(6.0, 6.0), (0.0, 0.95), "uniform"),
    "edm": (EDM(0.05, 20.0), (0.0, 1.0), "edm"),
    "ve": (VE(0.05, 20.0), (0.0, 1.0), "uniform"),
}
TOLERANCE = 0.3
LADDER = (96, 240)
# Its errors of second and of third order cancel at about 200 evaluations.
LADDERS = {"dpm++3m": (360, 600), "dpm++3m-k": (360, 600)}


@pytest.fixture(scope="module")
def measured_order(mixture, start):
    """Return the slope of log error over log NFE, against SciPy's DOP853 at 1e-13."""

    @functools.cache
    def problem(setting):
        path, interval, _ = SETTINGS[setting]
        field, x0 = mixture(path, interval), start(path, interval, 3)

        def flat(t, x):
            return field(torch.tensor(t, dtype=torch.float64), torch.from_numpy(x).reshape(x0.shape)).flatten().numpy()

        truth = solve_ivp(flat, interval, x0.flatten().numpy(), method="DOP853", rtol=1e-13, atol=1e-13).y[:, -1]
        return field, x0, torch.from_numpy(truth).reshape(x0.shape)

    def measure(sampler, setting, ladder=LADDER):
        field, x0, truth = problem(setting)
        errors = [float((sampler(field, x0, nfe) - truth).norm()) for nfe in ladder]
        return -np.polyfit(np.log(ladder), np.log(errors), 1)[0]

    return measure


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("spec", SOLVERS, ids=lambda spec: spec.name)
def test_solvers_have_their_declared_order(measured_order, solver, spec, setting):
    """Equal steps towards an infinite log-SNR would add a factor log(n) to the errors of solvers in log-SNR."""
    sampler = solver(spec.name, grid=SETTINGS[setting][2])
    assert measured_order(sampler, setting, LADDERS.get(spec.name, LADDER)) > spec.order - TOLERANCE


@pytest.mark.parametrize("setting", ["condot", "vp"])
@pytest.mark.parametrize(
    ("name", "parameters", "order"),
    [
        ("ab3", {}, 3),
        ("ab4", {}, 4),
        ("dpm-solver-3", {}, 3),
        ("unipc", {"order": 1}, 2),
        ("unipc", {"order": 2}, 3),
        ("unipc", {"order": 3}, 4),
        ("unipc", {"order": 3, "variant": "bh1"}, 4),
        ("deis", {"order": 3}, 3),
        ("deis", {"order": 4}, 4),
        ("deis", {"order": 3, "variable": "rho"}, 3),
        ("deis", {"order": 3, "variable": "logsnr"}, 3),
        ("sa-solver", {"predictor_order": 2, "corrector_order": 3}, 3),
        ("sa-solver", {"predictor_order": 3, "corrector_order": 4}, 4),
        ("sa-solver", {"predictor_order": 3, "corrector_order": 0}, 3),
        ("sa-solver", {"predictor_order": 3, "corrector_order": 4, "simple_order_2": False, "lower_order_final": False}, 4),
        ("res-2s", {"c2": 1 / 3}, 2),
        ("er-sde", {"order": 2}, 2),
        ("ipndm-v", {"order": 2}, 2),
        ("stork2", {"exact_times": True}, 2),
        ("stork2", {"exact_times": True, "derivatives": 2, "s": 3}, 2),
    ],
)
def test_high_orders_show_where_the_ends_have_fine_steps(measured_order, solver, name, parameters, order, setting):
    assert measured_order(solver(name, grid="chebyshev", **parameters), setting) > order - TOLERANCE


def test_dpm_solver_pp_3m_has_third_order_on_request(measured_order, solver):
    """The formula of the authors' code has order 2: it takes half the weight of the second divided difference."""
    assert math.isclose(measured_order(solver("dpm++3m", grid="chebyshev"), "vp"), 2, abs_tol=0.15)
    assert measured_order(solver("dpm++3m", grid="chebyshev", third_order=True), "vp") > 3 - TOLERANCE


@pytest.mark.parametrize(
    ("name", "parameters", "grid", "order"),
    [
        ("gradient-estimation", {}, "uniform", 1),
        ("stork2", {"s": 3}, "uniform", 1),
        ("er-sde", {"order": 3}, "chebyshev", 2),
        ("ipndm-v", {"order": 4}, "chebyshev", 0),
    ],
)
def test_what_is_said_to_be_of_low_order_is(measured_order, solver, name, parameters, grid, order):
    """The fourth order of diff-sampler's ipndm_v does not converge where steps grow in a ratio that does not tend to one."""
    assert math.isclose(measured_order(solver(name, grid=grid, **parameters), "condot"), order, abs_tol=0.25)


def midpoint_at_a_third(field, x, nfe):
    """A mistake: the midpoint's weights with a stage at a third."""
    times = time_grid("uniform", field.path, field.interval, nfe // 2)
    for s, t in pairwise(times):
        h = t - s
        x = x + h * field(s + h / 3, x + h / 3 * field(s, x))
    return x


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_wrong_solver_is_found_out(measured_order, setting):
    assert measured_order(midpoint_at_a_third, setting) < 2 - TOLERANCE


def test_the_measure_is_the_slope(measured_order, solver):
    """Euler has order 1 and not 2, rk4 has 4 and not 5."""
    assert math.isclose(measured_order(solver("euler"), "condot"), 1, abs_tol=0.15)
    assert math.isclose(measured_order(solver("rk4"), "condot"), 4, abs_tol=0.3)
