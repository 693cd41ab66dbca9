from __future__ import annotations

import math

import pytest
import torch
from diffusers import DDPMScheduler
from hypothesis import given
from hypothesis import strategies as st

from bnsbench.errors import UsageError
from bnsbench.flows.paths import (
    EDM,
    LOG_SNR_BOUND,
    VE,
    VP,
    CondOT,
    Cosine,
    DiscreteVP,
    Path,
    Preconditioned,
    make_path,
    path_from_dict,
)

PATHS = [
    CondOT(),
    Cosine(),
    VP(),
    VP(0.2, 5.0),
    DiscreteVP.linear(),
    DiscreteVP.scaled_linear(),
    EDM(),
    EDM(0.0),
    VE(),
    Preconditioned(CondOT(), 5.0),
    Preconditioned(VP(), 2.0),
]


@pytest.fixture(params=range(len(PATHS)), ids=[f"{i}-{p.name}" for i, p in enumerate(PATHS)])
def path(request: pytest.FixtureRequest) -> Path:
    return PATHS[request.param]


def test_everything_is_finite_on_the_closed_interval(path: Path) -> None:
    t = torch.linspace(0, 1, 101, dtype=torch.float64)
    for values in (path.alpha(t), path.sigma(t), path.d_alpha(t), path.d_sigma(t), path.log_snr(t), path.sigma_d_sigma(t)):
        assert values.dtype == torch.float64
        assert values.shape == t.shape
        assert torch.isfinite(values).all()


def test_float32_times_are_computed_in_float64(path: Path) -> None:
    assert path.alpha(torch.tensor(0.3, dtype=torch.float32)).dtype == torch.float64
    assert path.alpha(0.25).item() == path.alpha(torch.tensor(0.25)).item()


def test_derivatives_agree_with_autograd(path: Path) -> None:
    t = torch.linspace(0.013, 0.987, 61, dtype=torch.float64, requires_grad=True)
    for value, derivative in ((path.alpha, path.d_alpha), (path.sigma, path.d_sigma)):
        values = value(t)
        if values.requires_grad:
            (slope,) = torch.autograd.grad(values.sum(), t)
        else:
            slope = torch.zeros_like(t)
        torch.testing.assert_close(derivative(t).detach(), slope, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(path.sigma_d_sigma(t), path.sigma(t) * path.d_sigma(t), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("end", [0.0, 1.0])
def test_gradients_are_finite_at_both_ends(path: Path, end: float) -> None:
    for value in (path.alpha, path.sigma, path.log_snr, path.d_alpha, path.d_sigma, path.sigma_d_sigma):
        t = torch.tensor([end, 0.5], dtype=torch.float64, requires_grad=True)
        values = value(t)
        if values.requires_grad:
            (slope,) = torch.autograd.grad(values.sum(), t)
            assert torch.isfinite(slope).all()


def test_gradients_at_the_ends_are_the_derivatives(path: Path) -> None:
    t = torch.tensor([0.0, 1.0], dtype=torch.float64, requires_grad=True)
    for value, derivative in ((path.alpha, path.d_alpha), (path.sigma, path.d_sigma)):
        values = value(t)
        if values.requires_grad:
            (slope,) = torch.autograd.grad(values.sum(), t)
            torch.testing.assert_close(slope, derivative(t).detach(), rtol=1e-9, atol=1e-12)


def test_the_noise_of_variance_preserving_paths_is_the_root_to_the_last_bit() -> None:
    t = torch.cat([torch.linspace(0, 1, 101, dtype=torch.float64), 1 - torch.logspace(-16, -1, 31, dtype=torch.float64)])
    for path in (VP(), VP(1e-30, 5.0), DiscreteVP.linear()):
        assert torch.equal(path.sigma(t), torch.sqrt(-torch.expm1(-path.rate_integral(t))))


def test_log_snr_increases_and_time_inverts_it(path: Path) -> None:
    t = torch.linspace(0, 1, 257, dtype=torch.float64)
    log_snr = path.log_snr(t)
    assert (log_snr.diff() > 0).all()
    torch.testing.assert_close(path.time(log_snr), t, rtol=0, atol=1e-12)


def test_log_snr_is_the_log_of_the_ratio(path: Path) -> None:
    t = torch.linspace(0.01, 0.99, 33, dtype=torch.float64)
    torch.testing.assert_close(path.log_snr(t), torch.log(path.alpha(t) / path.sigma(t)), rtol=1e-10, atol=1e-10)


def test_log_snr_beyond_the_path_maps_to_its_ends(path: Path) -> None:
    ends = path.time(torch.tensor([-LOG_SNR_BOUND - 10, LOG_SNR_BOUND + 10], dtype=torch.float64))
    torch.testing.assert_close(ends, torch.tensor([0.0, 1.0], dtype=torch.float64), rtol=0, atol=1e-12)


def test_description_round_trips(path: Path) -> None:
    again = path_from_dict(path.to_dict())
    assert again == path
    assert hash(again) == hash(path)
    assert type(path).__name__ in repr(path)


@given(st.floats(0.001, 0.999))
def test_closed_forms(t: float) -> None:
    assert CondOT().log_snr(t).item() == pytest.approx(math.log(t / (1 - t)), abs=1e-9)
    assert Cosine().log_snr(t).item() == pytest.approx(math.log(math.tan(math.pi * t / 2)), abs=1e-9)
    rate = 0.5 * (1 - t) ** 2 * 19.9 + (1 - t) * 0.1
    assert VP().alpha(t).item() == pytest.approx(math.exp(-rate / 2), rel=1e-12)
    assert VP().sigma(t).item() == pytest.approx(math.sqrt(1 - math.exp(-rate)), rel=1e-9)
    assert EDM().log_snr(t).item() == pytest.approx(-math.log(80 + t * (0.002 - 80)), rel=1e-12)
    assert Preconditioned(CondOT(), 5.0).sigma(t).item() == pytest.approx(5 * (1 - t), rel=1e-12)


def test_variance_preserving_paths_preserve_variance() -> None:
    t = torch.linspace(0, 1, 50, dtype=torch.float64)
    for path in (Cosine(), VP(), DiscreteVP.linear()):
        torch.testing.assert_close(path.alpha(t) ** 2 + path.sigma(t) ** 2, torch.ones_like(t))


@pytest.mark.parametrize("name", ["linear", "scaled_linear"])
def test_discrete_schedules_equal_diffusers_at_integer_timesteps(name: str) -> None:
    start, end = (1e-4, 0.02) if name == "linear" else (0.00085, 0.012)
    scheduler = DDPMScheduler(beta_start=start, beta_end=end, beta_schedule=name)
    path = getattr(DiscreteVP, name)()
    timesteps = torch.arange(1000, dtype=torch.float64)
    t = 1 - timesteps / 999
    torch.testing.assert_close(path.timestep(t), timesteps)
    expected = scheduler.alphas_cumprod.double()
    torch.testing.assert_close(path.alpha(t) ** 2, expected, rtol=2e-5, atol=1e-9)  # diffusers computes in float32
    exact = torch.tensor(path.alphas_cumprod, dtype=torch.float64)
    torch.testing.assert_close(path.alpha(t) ** 2, exact, rtol=1e-12, atol=0)


def test_discrete_schedule_has_a_continuous_velocity() -> None:
    path = DiscreteVP.linear(timesteps=20)
    nodes = torch.arange(1, 19, dtype=torch.float64) / 19
    below, above = path.d_alpha(nodes - 1e-9), path.d_alpha(nodes + 1e-9)
    torch.testing.assert_close(below, above, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda: VP(5.0, 1.0), "beta_min"),
        (lambda: EDM(1.0, 0.5), "sigma_min"),
        (lambda: VE(0.0, 0.5), "sigma_min above 0"),
        (lambda: DiscreteVP([0.5, 0.9]), "decreasing"),
        (lambda: DiscreteVP([1.5, 0.9]), "between 0 and 1"),
        (lambda: Preconditioned(CondOT(), 0.0), "sigma_0"),
        (lambda: make_path("spiral"), "no path 'spiral'"),
        (lambda: make_path("vp", beta=1), "does not take"),
    ],
)
def test_bad_parameters_are_one_clear_sentence(build, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        build()
