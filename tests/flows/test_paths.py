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
    VP(7.0, 7.0),
    DiscreteVP.linear(),
    DiscreteVP.scaled_linear(),
    EDM(),
    EDM(0.0),
    VE(),
    VE(0.1, 4.0),
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


@given(st.floats(0.001, 0.999), st.floats(0.05, 40.0))
def test_a_constant_rate_has_its_closed_form(t: float, beta: float) -> None:
    path = VP(beta, beta)
    alpha = math.exp(-beta * (1 - t) / 2)
    assert path.alpha(t).item() == pytest.approx(alpha, rel=1e-12)
    assert path.d_alpha(t).item() == pytest.approx(beta / 2 * alpha, rel=1e-12)
    assert path.sigma(t).item() == pytest.approx(math.sqrt(-math.expm1(-beta * (1 - t))), rel=1e-12)
    assert path.sigma_d_sigma(t).item() == pytest.approx(-beta / 2 * alpha**2, rel=1e-12)
    # alpha / sigma = 1 / sqrt(exp(beta s) - 1), so that s = log(1 + exp(-2 lambda)) / beta.
    log_snr = torch.tensor(-0.5 * math.log(math.expm1(beta * (1 - t))), dtype=torch.float64, requires_grad=True)
    found = path.time(log_snr)
    assert found.item() == pytest.approx(t, abs=1e-12)
    (slope,) = torch.autograd.grad(found, log_snr)
    assert slope.item() == pytest.approx(-2 * math.expm1(-beta * (1 - t)) / beta, rel=1e-6)


def test_a_constant_rate_is_the_limit_of_rising_ones() -> None:
    t = torch.linspace(0, 1, 33, dtype=torch.float64)
    constant, rising = VP(6.0, 6.0), VP(6.0, 6.0 + 1e-9)
    for name in ("alpha", "sigma", "d_alpha", "log_snr"):
        torch.testing.assert_close(getattr(rising, name)(t), getattr(constant, name)(t), rtol=1e-8, atol=1e-8)


def test_the_variance_exploding_path_has_its_closed_form() -> None:
    # Noise levels in geometric progression: 50, 50 (0.01 / 50)^(1/4), ..., 0.01; in the middle the geometric mean.
    t = torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0], dtype=torch.float64)
    levels = torch.tensor([50.0, 5.946035575013605, 0.7071067811865476, 0.08408964152537146, 0.01], dtype=torch.float64)
    path = VE()
    torch.testing.assert_close(path.sigma(t), levels, rtol=1e-12, atol=0)
    torch.testing.assert_close(path.alpha(t), torch.ones_like(t), rtol=0, atol=0)
    # sigma' = log(0.01 / 50) sigma.
    torch.testing.assert_close(path.d_sigma(t), -8.517193191416238 * levels, rtol=1e-12, atol=0)
    torch.testing.assert_close(path.time(-levels.log()), t, rtol=0, atol=1e-12)
    inner, h = t[1:-1], 1e-6
    difference = (path.sigma(inner + h) - path.sigma(inner - h)) / (2 * h)
    torch.testing.assert_close(path.d_sigma(inner), difference, rtol=1e-8, atol=0)


@given(st.floats(0.0, 1.0), st.floats(1e-4, 0.9), st.floats(1.0, 100.0))
def test_variance_exploding_paths_of_any_range_have_their_closed_forms(t: float, lowest: float, highest: float) -> None:
    geometric = highest * (lowest / highest) ** t
    assert VE(lowest, highest).sigma(t).item() == pytest.approx(geometric, rel=1e-10)
    assert VE(lowest, highest).d_sigma(t).item() == pytest.approx(geometric * math.log(lowest / highest), rel=1e-10)
    assert VE(lowest, highest).time(-math.log(geometric)).item() == pytest.approx(t, abs=1e-10)
    straight = highest + t * (lowest - highest)
    assert EDM(lowest, highest).sigma(t).item() == pytest.approx(straight, rel=1e-10)
    assert EDM(lowest, highest).d_sigma(t).item() == pytest.approx(lowest - highest, rel=1e-10)
    assert EDM(lowest, highest).time(-math.log(straight)).item() == pytest.approx(t, abs=1e-9)


RATES = st.floats(0.01, 20.0)
FAMILIES = st.one_of(
    st.sampled_from([CondOT(), Cosine(), EDM(0.0, 3.0)]),
    st.tuples(RATES, st.floats(1.0, 30.0)).map(lambda rates: VP(min(rates), max(rates))),
    st.tuples(st.floats(1e-5, 1e-3), st.floats(0.01, 0.05), st.integers(2, 60)).map(lambda n: DiscreteVP.linear(*n)),
    st.tuples(st.floats(1e-3, 0.9), st.floats(1.0, 80.0)).map(lambda sigmas: EDM(*sigmas)),
    st.tuples(st.floats(1e-3, 0.9), st.floats(1.0, 80.0)).map(lambda sigmas: VE(*sigmas)),
)
ALL = st.one_of(FAMILIES, st.tuples(FAMILIES, st.floats(0.2, 10.0)).map(lambda parts: Preconditioned(*parts)))


@given(ALL, st.floats(0.01, 0.99))
def test_every_path_is_consistent_inside_its_interval(path: Path, t: float) -> None:
    h = 1e-5
    for value, derivative in ((path.alpha, path.d_alpha), (path.sigma, path.d_sigma)):
        difference = float(value(t + h) - value(t - h)) / (2 * h)
        scale = max(abs(float(value(t))), abs(float(derivative(t))))
        # The third derivative of a steep path, times h^2 / 6, or the kink of an interpolated one's second.
        assert float(derivative(t)) == pytest.approx(difference, abs=1e-4 * scale)
    log_snr = math.log(float(path.alpha(t)) / float(path.sigma(t)))
    assert float(path.log_snr(t)) == pytest.approx(log_snr, abs=1e-9)
    assert float(path.time(log_snr)) == pytest.approx(t, abs=1e-9)
    assert float(path.log_snr(t + h)) > float(path.log_snr(t))
    assert float(path.sigma_d_sigma(t)) == pytest.approx(float(path.sigma(t) * path.d_sigma(t)), rel=1e-9)
    assert path_from_dict(path.to_dict()) == path


def test_preconditioning_keeps_the_finite_product_where_the_slope_is_infinite() -> None:
    # sigma sigma' = -alpha alpha' of the base, -beta_min / 2 at its end, times sigma_0 squared.
    assert Preconditioned(VP(0.2, 5.0), 3.0).sigma_d_sigma(1.0).item() == pytest.approx(-9 * 0.1, rel=1e-12)


def test_variance_preserving_paths_preserve_variance() -> None:
    t = torch.linspace(0, 1, 50, dtype=torch.float64)
    for path in (Cosine(), VP(), VP(3.0, 3.0), DiscreteVP.linear()):
        torch.testing.assert_close(path.alpha(t) ** 2 + path.sigma(t) ** 2, torch.ones_like(t))


@pytest.mark.parametrize("name", ["linear", "scaled_linear"])
def test_discrete_schedules_equal_diffusers_at_integer_timesteps(name: str) -> None:
    start, end = (1e-4, 0.02) if name == "linear" else (0.00085, 0.012)
    scheduler = DDPMScheduler(beta_start=start, beta_end=end, beta_schedule=name)
    path = getattr(DiscreteVP, name)()
    timesteps = torch.arange(1000, dtype=torch.float64)
    t = 1 - timesteps / 999
    torch.testing.assert_close(path.timestep(t), timesteps)
    expected = vars(scheduler)["alphas_cumprod"].double()
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
        (lambda: VP(0.0, 0.0), "0 < beta_min"),
        (lambda: VP(1.0, math.inf), "finite"),
        (lambda: VP(math.nan, 1.0), "beta_min"),
        (lambda: VE(0.1, math.inf), "finite"),
        (lambda: EDM(0.1, math.nan), "finite"),
        (lambda: DiscreteVP([0.9, math.nan]), "decreasing"),
        (lambda: Preconditioned(CondOT(), math.inf), "finite sigma_0"),
        (lambda: EDM(1.0, 0.5), "sigma_min"),
        (lambda: VE(0.0, 0.5), "sigma_min above 0"),
        (lambda: DiscreteVP([0.5, 0.9]), "decreasing"),
        (lambda: DiscreteVP([0.9, 0.95, 0.5]), "decreasing"),
        (lambda: DiscreteVP([1.5, 0.9]), "between 0 and 1"),
        (lambda: Preconditioned(CondOT(), 0.0), "sigma_0"),
        (lambda: make_path("spiral"), "no path 'spiral'"),
        (lambda: make_path("vp", beta=1), "does not take"),
    ],
)
def test_bad_parameters_are_one_clear_sentence(build, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        build()
