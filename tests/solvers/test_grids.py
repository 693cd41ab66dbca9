from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import EDMEulerScheduler, FlowMatchEulerDiscreteScheduler
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta

from bnsbench.errors import UsageError
from bnsbench.flows.paths import EDM, VE, VP, CondOT, Cosine, DiscreteVP
from bnsbench.solvers.grids import NamedGrid, time_grid

GRIDS = [
    *("uniform", "chebyshev", "quadratic", "power:1.7", "kumaraswamy:1.25:1.6", "kumaraswamy:0.8:0.9"),
    *("shifted", "shifted:0.5", "logsnr", "logsnr:-3:4", "edm", "edm:3:0.01:20"),
]
SETTINGS = [
    (CondOT(), (0.0, 1.0)),
    (Cosine(), (0.0, 1.0)),
    (VP(), (0.0, 0.999)),
    (VP(), (0.0, 1.0)),
    (DiscreteVP.linear(timesteps=50), (0.0, 1.0)),
    (EDM(), (0.0, 1.0)),
    (EDM(0.0), (0.0, 1.0)),
    (VE(), (0.0, 1.0)),
]


@pytest.mark.parametrize(("path", "interval"), SETTINGS, ids=lambda value: getattr(value, "name", str(value)))
@pytest.mark.parametrize("grid", GRIDS)
def test_grids_increase_from_end_to_end(grid, path, interval):
    for steps in (1, 2, 3, 10, 40):
        times = time_grid(grid, path, interval, steps)
        assert times.dtype == torch.float64
        assert times.shape == (steps + 1,)
        assert (float(times[0]), float(times[-1])) == interval
        assert (times.diff() > 0).all()


@settings(deadline=None)
@given(steps=st.integers(1, 60), begin=st.floats(0, 0.4), end=st.floats(0.5, 1))
def test_uniform_steps_are_equal(steps, begin, end):
    expected = np.linspace(begin, end, steps + 1)
    np.testing.assert_allclose(time_grid("uniform", CondOT(), (begin, end), steps).numpy(), expected, rtol=0, atol=1e-15)


@pytest.mark.parametrize("shift", [1.0, 3.0, 6.5])
def test_shifted_is_the_shift_of_flow_models(shift):
    scheduler: Any = FlowMatchEulerDiscreteScheduler(shift=shift)
    scheduler.set_timesteps(sigmas=np.linspace(1, 1 / 10, 10).tolist())
    found = time_grid(f"shifted:{shift}", CondOT(), (0.0, 1.0), 10)
    np.testing.assert_allclose(1 - found.numpy(), scheduler.sigmas.double().numpy(), rtol=0, atol=1e-6)


def test_edm_is_the_grid_of_edm():
    """Diffusers ends its n noise levels with sigma = 0, as a path to sigma = 0 does."""
    scheduler: Any = EDMEulerScheduler(sigma_min=0.002, sigma_max=80.0, rho=7.0)
    scheduler.set_timesteps(12)
    path = EDM(0.0, 80.0)
    found = path.sigma(time_grid("edm", path, (0.0, 1.0), 12)).numpy()
    np.testing.assert_allclose(found, scheduler.sigmas.double().numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("sigma_min", "sigma_max", "rho"), [(0.002, 80.0, 7.0), (0.03, 14.6, 7.0), (0.01, 50.0, 3.0)])
def test_edm_on_a_path_with_finite_ends(sigma_min, sigma_max, rho):
    path, i = EDM(sigma_min, sigma_max), np.arange(10) / 9
    expected = (sigma_max ** (1 / rho) + i * (sigma_min ** (1 / rho) - sigma_max ** (1 / rho))) ** rho
    found = path.sigma(time_grid(f"edm:{rho}", path, (0.0, 1.0), 9)).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_edm_between_infinite_ends_spans_its_bounds():
    path = CondOT()
    times = time_grid("edm:7:0.01:20", path, (0.0, 1.0), 8)
    sigma = (path.sigma(times) / path.alpha(times))[1:-1]
    ramp = np.linspace(20 ** (1 / 7), 0.01 ** (1 / 7), 8) ** 7
    np.testing.assert_allclose(sigma.numpy(), ramp[1:], rtol=1e-9)


def test_logsnr_steps_are_equal_between_finite_ends():
    path = VP()
    steps = path.log_snr(time_grid("logsnr", path, (0.0, 0.999), 11)).diff()
    np.testing.assert_allclose(steps.numpy(), float(steps.mean()), rtol=1e-9)


@pytest.mark.parametrize(("grid", "low", "high"), [("logsnr", -5, 5), ("logsnr:-4:6", -4, 6)])
def test_logsnr_between_infinite_ends_spans_its_bounds(grid, low, high):
    inner = CondOT().log_snr(time_grid(grid, CondOT(), (0.0, 1.0), 10))[1:-1]
    np.testing.assert_allclose(inner.numpy(), np.linspace(low, high, 11)[1:-1], rtol=0, atol=1e-12)


def test_quadratic_is_that_of_ddim():
    found = time_grid("quadratic", CondOT(), (0.0, 1.0), 8)
    np.testing.assert_allclose(1 - found.numpy(), np.arange(9)[::-1] ** 2 / 64, rtol=0, atol=1e-15)


def test_chebyshev_nodes_are_extrema_of_a_chebyshev_polynomial():
    found = 2 * time_grid("chebyshev", CondOT(), (0.0, 1.0), 8).numpy() - 1
    np.testing.assert_allclose(np.abs(np.polynomial.Chebyshev.basis(8)(found)), 1, rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("grid", "reason"),
    [
        ("unifrom", "no time grid 'unifrom'; choose from uniform"),
        ("uniform:3", "has 1 options, but it takes 0"),
        ("shifted:3:4", "has 2 options, but it takes 1"),
        ("shifted:much", "not a number"),
        ("shifted:nan", "not finite"),
        ("shifted:0", "shift above 0"),
        ("shifted:-1", "shift above 0"),
        ("edm:0", "rho above 0"),
        ("power:0", "power above 0"),
        ("kumaraswamy:1:-2", "P and Q above 0, not 1 and -2"),
        ("inner:3:-3", "not increasing"),
        ("logsnr:4:-4", "not increasing"),
        ("edm:7:80:0.002", "not increasing"),
    ],
)
def test_errors_say_what_is_wrong(grid, reason):
    with pytest.raises(UsageError, match=reason):
        time_grid(grid, CondOT(), (0.0, 1.0), 6)


def test_the_default_bounds_are_about_the_range_of_the_linear_vp_diffusion():
    path = VP()
    assert math.isclose(float(path.log_snr(0.0)), -5, abs_tol=0.1)
    assert math.isclose(float(path.log_snr(0.999)), 5, abs_tol=0.5)


def test_nodes_are_parts_of_the_interval():
    times = time_grid("nodes:0.25:0.5", VP(), (0.0, 0.8), 3)
    torch.testing.assert_close(times, torch.tensor([0.0, 0.2, 0.4, 0.8], dtype=torch.float64))
    with pytest.raises(UsageError, match="gives 2 inner times, but 5 steps take 4"):
        time_grid("nodes:0.25:0.5", VP(), (0.0, 0.8), 5)


@pytest.mark.parametrize(("p", "q"), [(1.25, 1.6), (0.7, 2.5), (1.0, 1.0)])
def test_kumaraswamy_is_the_distribution_function_of_beta_where_they_meet(p, q):
    """Kumaraswamy's X is a power of a beta variable: X^p ~ Beta(1, q)."""
    i = np.arange(9) / 8
    found = time_grid(f"kumaraswamy:{p}:{q}", CondOT(), (0.0, 1.0), 8).numpy()
    np.testing.assert_allclose(found, beta(1, q).cdf(i**p), rtol=0, atol=1e-14)


def test_power_and_kumaraswamy_hold_the_quadratic_grid():
    quadratic = time_grid("quadratic", VP(), (0.0, 0.999), 7)
    for grid in ("power", "power:2", "kumaraswamy:1:2"):
        torch.testing.assert_close(time_grid(grid, VP(), (0.0, 0.999), 7), quadratic, rtol=0, atol=1e-15)


@pytest.mark.parametrize("path", [CondOT(), Cosine(), VP(), VE()], ids=lambda path: path.name)
def test_inner_nodes_are_equal_in_log_snr_and_the_ends_whole(path):
    times = time_grid("inner:-2:1.5", path, (0.0, 0.999), 9)
    np.testing.assert_allclose(path.log_snr(times)[1:-1].numpy(), np.linspace(-2, 1.5, 8), rtol=0, atol=1e-9)


def test_a_single_inner_node_lies_in_the_middle():
    assert float(CondOT().log_snr(time_grid("inner:-2:3", CondOT(), (0.0, 1.0), 2)[1])) == pytest.approx(0.5)
    assert time_grid("inner:-2:3", CondOT(), (0.0, 1.0), 1).tolist() == [0.0, 1.0]


def test_other_names_mean_the_same():
    for alias, name in (("shift:0.5", "shifted:0.5"), ("karras:5:0.1:20", "edm:5:0.1:20")):
        assert torch.equal(time_grid(alias, VP(), (0.0, 1.0), 8), time_grid(name, VP(), (0.0, 1.0), 8))


def test_a_grid_may_be_numbers_or_the_times_themselves():
    named = NamedGrid("kumaraswamy", (1.25, 1.6))
    times = time_grid(named, CondOT(), (0.0, 1.0), 6)
    assert str(named) == "kumaraswamy:1.25:1.6"
    assert named.in_words == "Kumaraswamy 1.25, 1.6"
    assert NamedGrid.parse(str(named)) == named
    assert torch.equal(times, time_grid(str(named), CondOT(), (0.0, 1.0), 6))
    assert torch.equal(times, time_grid(times, CondOT(), (0.0, 1.0), 6))
    assert torch.equal(times.float().double(), time_grid(times.float(), CondOT(), (0.0, 1.0), 6))


@pytest.mark.parametrize(
    ("times", "reason"),
    [
        ([0.0, 0.5, 1.0], "for 3 steps has 4 times"),
        ([0.0, 0.2, 0.4, 0.9], "reaches from 0 to 1 here, not from 0 to 0.9"),
        ([0.0, 0.6, 0.4, 1.0], "must increase"),
        ([0.0, float("nan"), 0.4, 1.0], "must increase"),
    ],
)
def test_times_that_are_no_grid_are_refused(times, reason):
    with pytest.raises(UsageError, match=reason):
        time_grid(torch.tensor(times, dtype=torch.float64), CondOT(), (0.0, 1.0), 3)
