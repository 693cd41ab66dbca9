"""What is the same under two names, and what is taken for the same and is not."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import FlowMatchHeunDiscreteScheduler

from bnsbench.flows.fields import FunctionField
from bnsbench.flows.paths import EDM, VE, VP, CondOT, Cosine
from tests.solvers import peers
from tests.solvers.names import FINITE, table_of
from tests.solvers.schedulers import run

SAME = [
    ("etd2rk", {}, "res-2s", {"c2": 1.0}),
    ("res-multistep", {}, "sa-solver", {"corrector_order": 0, "simple_order_2": False, "lower_order_final": False}),
    ("ipndm-v", {"order": 2}, "deis", {"order": 2, "variable": "rho"}),
    ("gradient-estimation", {"gamma": 1.5}, "ipndm", {"order": 2}),
    ("gradient-estimation", {"gamma": 1.0}, "ddim", {}),
    ("er-sde", {"order": 1}, "ddim", {}),
    ("dpm-solver-1", {}, "ddim", {}),
    ("unipc", {"order": 1, "variant": "bh1"}, "sa-solver", {"predictor_order": 1}),
]


@pytest.mark.parametrize(("one", "settings", "other", "others"), SAME, ids=str)
def test_rules_that_coincide(mixture, start, deviation, one, settings, other, others):
    for path, interval in FINITE:
        field, x0 = mixture(path, interval), start(path, interval)
        tables = [table_of(*each, field, 6) for each in ((one, settings), (other, others))]
        assert deviation(tables[0](field, x0), tables[1](field, x0)) < 1e-9


def test_stork_with_its_own_times_is_adams_bashforth(mixture, start, deviation):
    for path, interval in [*FINITE, (CondOT(), (0.0, 1.0))]:
        field, x0 = mixture(path, interval), start(path, interval)
        expected = table_of("ab2", {"grid": "quadratic"}, field, 6)(field, x0)
        for s in (2, 50):
            table = table_of("stork2", {"s": s, "exact_times": True, "grid": "quadratic"}, field, 6)
            assert deviation(table(field, x0), expected) < 1e-11


@pytest.mark.parametrize(
    ("path", "same"), [(CondOT(), True), (EDM(), True), (VE(), False), (VP(), False), (Cosine(), False)]
)
def test_euler_is_ddim_where_time_is_linear_in_both_coefficients(mixture, start, deviation, path, same):
    field, x0 = mixture(path, (0.0, 0.9)), start(path)
    tables = [table_of(name, {}, field, 6) for name in ("euler", "ddim")]
    assert (deviation(tables[0](field, x0), tables[1](field, x0)) < 1e-12) == same


DIFFERENT = [
    ("dpm++3m", {"lower_order_final": False}, "dpm++3m-k", {}),
    ("dpm++2m", {"lower_order_final": False}, "res-multistep", {}),
    ("dpm++2s", {}, "res-2s", {}),
    ("dpm-solver-2", {}, "dpm++2s", {}),
    ("rk4", {}, "rk38", {}),
    ("heun", {}, "edm-heun", {"grid": "uniform"}),
    ("etd2rk", {}, "edm-heun", {"grid": "uniform"}),
    ("er-sde", {"order": 2}, "res-multistep", {}),
    ("er-sde", {"order": 2}, "deis", {"order": 2, "variable": "rho"}),
    ("ipndm-v", {}, "deis", {"order": 3, "variable": "rho"}),
    ("ipndm-v", {"order": 4}, "deis", {"order": 4, "variable": "rho"}),
    ("stork2", {}, "ab2", {}),
    ("euler", {}, "ddim", {}),
    ("gradient-estimation", {}, "ipndm", {"order": 2}),
]


@pytest.mark.parametrize(("one", "settings", "other", "others"), DIFFERENT, ids=str)
def test_rules_that_are_taken_for_each_other(mixture, start, deviation, one, settings, other, others):
    """Each pair differs where both have work to do, by far more than rounding."""
    path, interval = FINITE[0]
    field, x0 = mixture(path, interval), start(path, interval)
    tables = [table_of(*each, field, 8) for each in ((one, settings), (other, others))]
    assert deviation(tables[0](field, x0), tables[1](field, x0)) > 1e-5


def test_the_two_3m_differ_in_the_second_step_alone(mixture):
    field = mixture(*FINITE[0])
    theirs = table_of("dpm++3m-k", {}, field, 6)
    authors = table_of("dpm++3m", {"lower_order_final": False}, field, 6)
    res = table_of("res-multistep", {}, field, 6)
    torch.testing.assert_close(theirs.b[0], authors.b[0], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(theirs.b[1], res.b[1], rtol=1e-12, atol=1e-12)
    assert float((theirs.b[1] - authors.b[1]).abs().max()) > 1e-2


def test_flow_match_heun_ends_with_euler(mixture, start, deviation):
    steps = 4
    field, x0 = mixture(CondOT()), start(CondOT())
    scheduler: Any = FlowMatchHeunDiscreteScheduler()
    scheduler.set_timesteps(steps)
    sigmas = 1 - torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    scheduler.sigmas = torch.cat([sigmas[:1], sigmas[1:-1].repeat_interleave(2), sigmas[-1:]])
    scheduler.timesteps = torch.arange(2 * steps - 1, 0, -1, dtype=torch.float64)
    scheduler.set_begin_index(0)
    table = table_of("heun", {}, field, 2 * steps)
    found = run(scheduler, field, table.times[:-1], x0, lambda t, x, u: -u)
    assert deviation(table(field, x0), found) > 1e-3
    shorter = mixture(CondOT(), (0.0, 0.75))
    before = table_of("heun", {}, shorter, 2 * steps - 2)(shorter, x0)
    t = torch.tensor(0.75, dtype=torch.float64)
    assert deviation(before + 0.25 * field(t, before), found) < 1e-6


FLOW: dict[str, Callable[..., Any]] = {"euler": peers.euler, "ab4": peers.lms, "ab3": functools.partial(peers.lms, order=3)}


@pytest.mark.parametrize("name", FLOW)
def test_comfyui_runs_k_diffusion_s_samplers_on_a_flow_in_its_own_sigma(mixture, start, deviation, name):
    """There sigma is 1 - t and d = (x - data) / sigma is minus the velocity, so that they are methods on the velocity."""
    field, x0 = mixture(CondOT()), start(CondOT())

    def data(x, sigma):
        t = torch.tensor(1 - sigma, dtype=torch.float64)
        return x + sigma * field(t, x)

    table = table_of(name, {}, field, 8)
    expected = FLOW[name](data, x0, (1 - table.times).tolist())
    assert deviation(table(field, x0), expected) < 1e-9


def test_er_sde_of_comfyui_without_noise_is_no_solver_of_the_ode(denoise):
    """Its phi(x) = x (exp(x^0.3) + 10) drops what the noise would have put back; phi(x) = x converges."""

    def theirs(sigma):
        return sigma * (math.exp(sigma**0.3) + 10)

    x0 = 10 * torch.randn(12, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    grids = [np.geomspace(10, 0.01, n + 1).tolist() for n in (2000, 400, 200)]
    truth = peers.heun(denoise, x0, grids[0])
    errors = {
        phi: [float((peers.er_sde(denoise, x0, grid, phi=phi) - truth).norm()) for grid in grids[1:]]
        for phi in (theirs, lambda sigma: sigma)
    }
    (fine, coarse), (right_fine, right_coarse) = errors.values()
    assert fine > 0.9 * coarse > 0.1
    assert right_fine < 0.4 * right_coarse < 0.01


@pytest.mark.parametrize("order", [3, 4])
def test_weights_of_ipndm_v_on_equal_steps(mixture, order):
    """Where steps are equal in sigma / alpha, three values have the Adams-Bashforth weights, and four have not."""
    field = mixture(EDM(1.0, 9.0))
    inner = field.path.time(-torch.log(torch.arange(8.0, 1.0, -1.0, dtype=torch.float64))).tolist()
    grid = ":".join(["nodes", *map(str, inner)])
    theirs, rule = (table_of(name, {"order": order, "grid": grid}, field, 8) for name in ("ipndm-v", "ipndm"))
    assert (float((theirs.b - rule.b).abs().max()) < 1e-9) == (order == 3)


def test_only_four_values_of_ipndm_v_are_not_exact_for_a_constant_slope():
    """Their weights do not sum to one on unequal steps, so that not even a constant noise prediction is integrated."""
    path, interval = FINITE[0]
    point, noise = torch.tensor([[1.5, -0.5]], dtype=torch.float64), torch.tensor([[0.3, 0.8]], dtype=torch.float64)

    def velocity(t, x):
        return path.d_alpha(t) * point + path.d_sigma(t) * (x - path.alpha(t) * point) / path.sigma(t)

    field = FunctionField(velocity, path, interval)
    x0, x1 = (path.alpha(t) * point + path.sigma(t) * noise for t in interval)
    gaps = [float((table_of("ipndm-v", {"order": order}, field, 8)(field, x0) - x1).abs().max()) for order in (2, 3, 4)]
    assert max(gaps[:2]) < 1e-12
    assert gaps[2] > 1e-3
