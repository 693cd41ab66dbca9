from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from bnsbench.errors import NotApplicableError, UsageError
from bnsbench.flows.paths import EDM, VE, VP, CondOT, Cosine, DiscreteVP
from bnsbench.models.digits.mixture import digits_gmm
from bnsbench.models.mixtures import Mixture, MixtureModel, aniso5, ring8
from bnsbench.truth.ground_truth import solve

PATHS = [CondOT(), Cosine(), VP(), VP(9.0, 9.0), EDM(), VE(), DiscreteVP.linear(1e-3, 0.5, 30)]
NAMES = ["condot", "cosine", "vp", "discrete-vp", "edm", "ve"]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_mixture(components: int, dim: int, per_class: int | None = None) -> Mixture:
    g = generator(7)
    factors = torch.randn(components, dim, dim, generator=g, dtype=torch.float64).tril() * 0.3
    factors.diagonal(dim1=1, dim2=2).abs_().add_(0.2)
    means = torch.randn(components, dim, generator=g, dtype=torch.float64)
    weights = torch.rand(components, generator=g, dtype=torch.float64) + 0.5
    return Mixture(weights / weights.sum(), means, factors, per_class)


def told(path) -> str:
    return f"{path.name}-{path.parameters()['beta_min']:g}" if path.name == "vp" else path.name


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


@pytest.mark.parametrize("path", PATHS, ids=told)
def test_single_gaussian_flows_along_its_closed_form(path):
    # For one Gaussian the flow is affine: x(t) = a mu + Q sqrt((a^2 e + s^2) / (a_0^2 e + s_0^2)) Q' (x_0 - a_0 mu).
    mixture = random_mixture(1, 3)
    model = MixtureModel(mixture, path, (3,), end=0.99)
    x0 = normal(5, 3)
    end, _ = solve(model.field(None), x0, 1e-10)
    variances, basis = torch.linalg.eigh(mixture.factors[0] @ mixture.factors[0].T)
    a0, s0, a, s = path.alpha(0.0), path.sigma(0.0), path.alpha(0.99), path.sigma(0.99)
    stretch = ((a**2 * variances + s**2) / (a0**2 * variances + s0**2)).sqrt()
    expected = a * mixture.means[0] + ((x0 - a0 * mixture.means[0]) @ basis * stretch) @ basis.T
    torch.testing.assert_close(end, expected, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("path", PATHS, ids=told)
@pytest.mark.parametrize("t", [0.1, 0.5, 0.9])
def test_velocity_is_the_posterior_mean_s(path, t):
    # u = s' E[x_0 | x] + a' E[x_1 | x], with the posterior mean from scipy's densities and the textbook Gaussian formula.
    mixture = random_mixture(4, 3)
    a, s = float(path.alpha(t)), float(path.sigma(t))
    x = normal(6, 3, seed=2)
    covariances = (mixture.factors @ mixture.factors.mT).numpy()
    posterior_mean = np.zeros((6, 3))
    density = np.zeros((6, 1))
    for weight, mean, covariance in zip(mixture.weights.numpy(), mixture.means.numpy(), covariances, strict=True):
        marginal = a * a * covariance + s * s * np.eye(3)
        share = weight * multivariate_normal(a * mean, marginal).pdf(x.numpy())[:, None]
        posterior_mean += share * (mean + (x.numpy() - a * mean) @ np.linalg.solve(marginal, a * covariance))
        density += share
    data = posterior_mean / density
    noise = (x.numpy() - a * data) / s
    expected = float(path.d_sigma(t)) * noise + float(path.d_alpha(t)) * data
    velocity = MixtureModel(mixture, path, (3,)).predict(torch.tensor(t, dtype=torch.float64), x, None)
    np.testing.assert_allclose(velocity.numpy(), expected, rtol=1e-9, atol=1e-9)


def test_velocity_is_the_monte_carlo_average_of_conditional_velocities():
    mixture, t = random_mixture(3, 2), 0.4
    x = torch.tensor([[0.3, -0.2]], dtype=torch.float64)
    x1 = mixture.sample(None, 200_000, generator(1))
    noise = (x - t * x1) / (1 - t)
    weights = torch.softmax(-0.5 * noise.square().sum(1), dim=0)
    estimate = (weights[:, None] * (x1 - noise)).sum(0)
    velocity = MixtureModel(mixture, CondOT(), (2,)).predict(torch.tensor(t), x, None)[0]
    torch.testing.assert_close(velocity, estimate, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("path", PATHS, ids=told)
def test_continuity_equation_holds(path):
    # d p/dt + div(p u) = 0, divided by p: d log p/dt + div u + u . grad log p = 0, all by autograd and scipy-free densities.
    mixture = random_mixture(3, 2)
    model = MixtureModel(mixture, path, (2,))
    x, t = normal(1, 2, seed=4)[0], torch.tensor(0.6, dtype=torch.float64)
    eye = torch.eye(2, dtype=torch.float64)

    def log_density(t, x):
        covariances = path.alpha(t) ** 2 * mixture.factors @ mixture.factors.mT + path.sigma(t) ** 2 * eye
        parts = torch.distributions.MultivariateNormal(path.alpha(t) * mixture.means, covariances).log_prob(x)
        return torch.logsumexp(parts + mixture.weights.log(), dim=0)

    d_t, score = torch.autograd.functional.jacobian(log_density, (t, x))
    jacobian = torch.autograd.functional.jacobian(lambda y: model.predict(t, y[None], None)[0], x)
    velocity = model.predict(t, x[None], None)[0]
    assert float(d_t + jacobian.trace() + velocity @ score) == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize("path", PATHS, ids=told)
def test_gradients_in_time_and_state(path):
    model = MixtureModel(random_mixture(4, 3, per_class=2), path, (3,))
    x = normal(3, 3).requires_grad_()
    labels = torch.tensor([0, 1, 2])
    shared = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    each = torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64, requires_grad=True)
    for t in (shared, each):
        assert torch.autograd.gradcheck(lambda t, x: model.guided(t, x, labels, 1.5), (t, x))


def test_conditional_velocity_is_that_of_the_class_s_own_mixture():
    mixture = random_mixture(6, 3, per_class=2)
    x, t = normal(5, 3), torch.tensor(0.3)
    labels = torch.tensor([2, 0, 1, 3, 2])
    velocity = MixtureModel(mixture, CondOT(), (3,)).predict(t, x, labels)
    for row, label in enumerate(labels.tolist()):
        part = slice(None) if label == 3 else slice(2 * label, 2 * label + 2)
        weights = mixture.weights[part] / mixture.weights[part].sum()
        own = MixtureModel(Mixture(weights, mixture.means[part], mixture.factors[part]), CondOT(), (3,))
        torch.testing.assert_close(velocity[row : row + 1], own.predict(t, x[row : row + 1], None), rtol=1e-12, atol=1e-12)


def test_time_per_sample_equals_one_time_after_another():
    model = MixtureModel(random_mixture(6, 3, per_class=2), VP(), (3,))
    x, t, labels = normal(4, 3), torch.tensor([0.0, 0.3, 0.7, 0.999], dtype=torch.float64), torch.tensor([0, 1, 0, 3])
    apart = torch.cat([model.predict(t[k], x[k : k + 1], labels[k : k + 1]) for k in range(4)])
    torch.testing.assert_close(model.predict(t, x, labels), apart, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("path", PATHS, ids=told)
@pytest.mark.parametrize("t", [0.0, 1.0])
def test_velocity_is_finite_at_the_ends(path, t):
    model = MixtureModel(random_mixture(4, 3), path, (3,))
    assert model.predict(torch.tensor(t, dtype=torch.float64), 3 * normal(8, 3), None).isfinite().all()


def test_velocity_is_finite_far_from_all_components():
    x = torch.full((1, 2), 1e3, dtype=torch.float64)
    assert ring8().predict(torch.tensor(0.99), x, None).isfinite().all()


@pytest.mark.parametrize("factory", [ring8, aniso5])
@pytest.mark.parametrize("path", [*NAMES, "vp:9:9"])
def test_flow_carries_noise_to_the_mixture(factory, path):
    model = factory(path)
    end, _ = solve(model.field(None), model.path.sigma(0.0) * normal(2000, 2), 1e-5)
    drawn = model.mixture.sample(None, 2000, generator(5))
    for moment in (lambda x: x, lambda x: x.square(), lambda x: x.norm(dim=1, keepdim=True)):
        torch.testing.assert_close(moment(end).mean(0), moment(drawn).mean(0), rtol=0.1, atol=0.05)


def test_ring_samples_end_on_the_ring():
    end, _ = solve(ring8().field(None), normal(500, 2), 1e-6)
    assert (end.norm(dim=1) - 1).abs().quantile(0.99) < 4 * 0.06
    # All eight arcs are visited about equally.
    arcs = torch.bincount(((torch.atan2(end[:, 1], end[:, 0]) / (math.pi / 4)).round().long() % 8), minlength=8)
    assert arcs.min() > 30


def test_drawn_samples_have_the_mixture_s_moments():
    mixture = random_mixture(4, 3, per_class=2)
    labels = torch.ones(100_000, dtype=torch.int64)
    drawn = mixture.sample(labels, len(labels), generator())
    weights = (mixture.weights[2:] / mixture.weights[2:].sum())[:, None]
    mean = (weights * mixture.means[2:]).sum(0)
    second = (
        weights[..., None] * (mixture.factors @ mixture.factors.mT + mixture.means[..., None] * mixture.means[:, None])[2:]
    ).sum(0)
    torch.testing.assert_close(drawn.mean(0), mean, rtol=0.02, atol=0.02)
    torch.testing.assert_close(drawn.T @ drawn / len(drawn), second, rtol=0.02, atol=0.03)


def test_digits_mixture_is_normalised_and_proper():
    mixture = digits_gmm().mixture
    assert float(mixture.weights.sum()) == pytest.approx(1, abs=1e-12)
    torch.testing.assert_close(
        mixture.weights.reshape(10, 3).sum(1), torch.full((10,), 0.1, dtype=torch.float64), atol=1e-3, rtol=0
    )
    assert torch.linalg.eigvalsh(mixture.factors @ mixture.factors.mT).min() > 5e-3


def test_digits_mixture_guides_in_float64_and_follows_to():
    model = digits_gmm("cosine")
    x, labels, t = normal(4, 1, 8, 8), model.conditions(torch.tensor([3, 4, 13, 9])), torch.tensor(0.5, dtype=torch.float64)
    guided = model.guided(t, x, labels, 2.0)
    expected = 3 * model.predict(t, x, labels) - 2 * model.predict(t, x, None)
    assert guided.dtype == torch.float64
    torch.testing.assert_close(guided, expected, rtol=1e-10, atol=1e-10)
    single = model.to("cpu", torch.float32).guided(t, x.float(), labels, 2.0)
    torch.testing.assert_close(single, guided.float(), rtol=1e-3, atol=1e-3)


def test_reference_samples_are_seeded_and_labelled():
    reference = digits_gmm().reference()
    assert reference.samples.shape == (2000, 1, 8, 8)
    assert reference.labels is not None
    assert torch.equal(reference.labels, torch.arange(2000) % 10)
    assert torch.equal(reference.samples, digits_gmm("vp").reference().samples)


def test_fingerprint_tells_paths_and_parameters_apart():
    prints = {digits_gmm(path).fingerprint() for path in (*NAMES, "vp:9:9", "edm:0.002:40")} | {
        ring8().fingerprint(),
        aniso5().fingerprint(),
    }
    assert len(prints) == 10
    assert digits_gmm().fingerprint() in prints


def test_unknown_path_and_missing_classes_are_refused():
    with pytest.raises(UsageError, match="choose from condot, cosine, vp, discrete-vp, edm, ve"):
        digits_gmm("spiral")
    with pytest.raises(NotApplicableError, match="no classes"):
        ring8().null_condition(torch.zeros(1))
    assert ring8().conditions(torch.arange(3)) is None
