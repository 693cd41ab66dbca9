from __future__ import annotations

from typing import TypedDict

import pytest
import torch
from scipy.fft import dctn
from torch.autograd import forward_ad

from bnsbench.errors import NotApplicableError, UsageError
from bnsbench.flows.model import Model
from bnsbench.models.mixtures import Mixture, MixtureModel
from bnsbench.models.textures import TEXTURES, CosineBasis, SpectralMixture, TextureModel, spectral_mixture, textures
from bnsbench.nonstationary.tracing import trace
from bnsbench.solvers.runge_kutta import euler
from bnsbench.solvers.unipc import unipc
from bnsbench.truth.ground_truth import solve
from bnsbench.truth.psnr import psnr_per_sample

PATHS = ["condot", "cosine", "vp", "discrete-vp", "edm", "ve"]


class Precision(TypedDict):
    dtype: torch.dtype


DOUBLE: Precision = {"dtype": torch.float64}

# Forward-mode differentiation has torch script its own decompositions when it is first used.
forward_mode = pytest.mark.filterwarnings("ignore:`torch.jit.script`:DeprecationWarning")


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), **DOUBLE)


def random_mixture(side: int = 12, low: int = 3) -> SpectralMixture:
    """Return two classes of two variants; at 12 pixels, the last two bands hold two frequencies each."""
    bands = len(CosineBasis.of(side, low).bands)
    return SpectralMixture(normal(2, 2, 3, low, low, seed=1), normal(2, 3, bands, bands, seed=2).exp() * 0.2, side)


def small_model(path: str = "condot") -> TextureModel:
    return TextureModel(spectral_mixture(side=4, low=2), path).to("cpu", torch.float64)


def atoms(side: int) -> torch.Tensor:
    """Return the basis images [3 side^2, 3 side^2], one per row."""
    units = torch.eye(3 * side * side, **DOUBLE).reshape(-1, 3, side, side)
    return CosineBasis.of(side, 1).images(units).flatten(1)


def dense(mixture: SpectralMixture) -> Mixture:
    """Return the same mixture with means and full covariances of pixels."""
    basis, side, rows = mixture.basis(), mixture.side, atoms(mixture.side)
    means = basis.widened(mixture.means.flatten(0, 1)).flatten(1) @ rows
    band = basis.bands.argmax(0)
    variances = mixture.variances[:, :, band][..., band].reshape(-1, 3 * side * side)
    factors = torch.linalg.cholesky(rows.T @ torch.diag_embed(variances) @ rows)
    classes, variants = mixture.means.shape[:2]
    weights = torch.full((classes * variants,), 1 / (classes * variants), **DOUBLE)
    return Mixture(weights, means, factors.repeat_interleave(variants, 0), variants)


def test_basis_is_orthonormal_and_that_of_scipy():
    rows = atoms(8)
    torch.testing.assert_close(rows @ rows.T, torch.eye(192, **DOUBLE), atol=1e-13, rtol=0)
    image = normal(1, 3, 8, 8)
    coefficients = CosineBasis.of(8, 3).coefficients(image)
    red, green, blue = (torch.from_numpy(dctn(plane.numpy(), norm="ortho")) for plane in image[0])
    torch.testing.assert_close(coefficients[0, 0], (red + green + blue) / 3**0.5)
    torch.testing.assert_close(coefficients[0, 1], (red - blue) / 2**0.5)
    torch.testing.assert_close(coefficients[0, 2], (red - 2 * green + blue) / 6**0.5)


def test_basis_goes_there_and_back():
    basis, images = CosineBasis.of(32, 10), normal(2, 3, 32, 32)
    torch.testing.assert_close(basis.images(basis.coefficients(images)), images, atol=1e-13, rtol=0)


def test_bands_part_the_frequencies():
    bands = CosineBasis.of(32, 10).bands
    assert bands.sum(1).tolist() == [1] * 10 + [2, 3, 3, 4, 5, 5]
    assert torch.equal(bands.sum(0), torch.ones(32, **DOUBLE))
    assert torch.equal(bands[:10, :10], torch.eye(10, **DOUBLE))


def test_pooling_and_spreading_are_adjoint():
    basis = CosineBasis.of(32, 10)
    fine, coarse = normal(1, 3, 32, 32), normal(1, 3, 16, 16)
    torch.testing.assert_close((basis.pooled(fine) * coarse).sum(), (fine * basis.spread(coarse)).sum())


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("mixture", [random_mixture(), spectral_mixture(side=4, low=2)], ids=["random", "textures"])
def test_velocity_is_that_of_the_dense_mixture(mixture, path):
    model = TextureModel(mixture, path).to("cpu", torch.float64)
    other = MixtureModel(dense(mixture), model.path, model.shape, model.interval[1])
    x, labels = normal(6, *model.shape), torch.tensor([0, 1, model.classes, 1, 0, 1])
    for t in (0.0, 0.2, 0.6, 0.95, model.interval[1]):
        time = torch.tensor(t, **DOUBLE)
        for condition in (labels, None):
            expected = other.predict(time, x, condition)
            torch.testing.assert_close(model.predict(time, x, condition), expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("t", [0.1, 0.5, 0.9])
def test_velocity_follows_from_the_density_by_tweedie_s_formula(path, t):
    # E[x_1 | x] = (x + s^2 grad log p_t(x)) / a, and u = s' E[x_0 | x] + a' E[x_1 | x].
    model = small_model(path)
    mixture, p = dense(model.mixture), model.path
    a, s = p.alpha(t), p.sigma(t)
    x = normal(5, 48, seed=3).requires_grad_()
    covariances = a**2 * mixture.factors @ mixture.factors.mT + s**2 * torch.eye(48, **DOUBLE)
    components = torch.distributions.MultivariateNormal(a * mixture.means, covariances)
    log_density = torch.logsumexp(components.log_prob(x[:, None]), dim=1)
    score = torch.autograd.grad(log_density.sum(), x)[0]
    data = (x.detach() + s**2 * score) / a
    expected = p.d_sigma(t) * (x.detach() - a * data) / s + p.d_alpha(t) * data
    velocity = model.predict(torch.tensor(t, **DOUBLE), x.detach().reshape(5, 3, 4, 4), None)
    torch.testing.assert_close(velocity.flatten(1), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("path", PATHS)
def test_time_per_sample_equals_one_time_after_another(path):
    model = textures(path).to("cpu", torch.float64)
    x, t, labels = normal(4, 3, 32, 32), torch.tensor([0.0, 0.3, 0.7, 0.999], **DOUBLE), torch.tensor([0, 7, 8, 3])
    apart = torch.cat([model.guided(t[k], x[k : k + 1], labels[k : k + 1], 2.0) for k in range(4)])
    torch.testing.assert_close(model.guided(t, x, labels, 2.0), apart, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_samples_do_not_depend_on_their_batch(dtype):
    model = textures().to("cpu", dtype)
    x, labels = normal(6, 3, 32, 32).to(dtype), model.conditions(torch.arange(6))
    field, t = model.field(labels, 2.0), torch.tensor(0.2, **DOUBLE)
    parts = torch.cat([field.part(part)(t, x[part]) for part in (slice(0, 1), slice(1, 6))])
    tolerance = 1e3 * torch.finfo(dtype).eps
    torch.testing.assert_close(field(t, x), parts, rtol=tolerance, atol=tolerance)


def test_guidance_is_that_of_two_predictions():
    model = small_model()
    x, labels, t = normal(5, 3, 4, 4), torch.tensor([0, 3, 7, 8, 2]), torch.tensor(0.3, **DOUBLE)
    each = torch.tensor([0.0, 1.0, 2.5, 3.0, -0.5], **DOUBLE)
    for guidance in (0.0, 2.0, each):
        expected = Model.guided(model, t, x, labels, guidance)
        torch.testing.assert_close(model.guided(t, x, labels, guidance), expected, rtol=1e-11, atol=1e-11)
    assert model.null_condition(labels).tolist() == [8] * 5
    assert model.field(labels, 2.0).forwards_per_evaluation == 2
    with pytest.raises(NotApplicableError, match="unconditional"):
        model.guided(t, x, None, 2.0)


@forward_mode
@pytest.mark.parametrize("path", PATHS)
def test_gradients_in_time_and_state(path):
    model = TextureModel(random_mixture(side=2, low=1), path).to("cpu", torch.float64)
    x, labels = normal(3, 3, 2, 2).requires_grad_(), torch.tensor([0, 1, 2])
    for t in (0.4, [0.2, 0.5, 0.9]):
        time = torch.tensor(t, **DOUBLE, requires_grad=True)
        assert torch.autograd.gradcheck(lambda t, x: model.guided(t, x, labels, 1.5), (time, x), check_forward_ad=True)


@forward_mode
def test_graph_serves_several_backward_passes():
    model, x = textures(), normal(2, 3, 32, 32).float().requires_grad_()
    t = torch.tensor([0.3, 0.4], **DOUBLE, requires_grad=True)
    u = model.guided(t, x, torch.tensor([0, 1]), 2.0)
    first, again = (torch.autograd.grad(u, (x, t), torch.ones_like(u), retain_graph=True) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(x.detach(), torch.ones_like(x))
        along = forward_ad.unpack_dual(model.guided(t.detach(), dual, torch.tensor([0, 1]), 2.0)).tangent
    torch.testing.assert_close(along.sum(), first[0].sum(), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("path", PATHS)
def test_velocity_is_finite_at_the_ends_and_far_away(path):
    model = textures(path)
    x, labels = normal(4, 3, 32, 32).float(), torch.tensor([0, 3, 5, 8])
    for t in model.interval:
        for scale in (1.0, 100.0):
            assert model.guided(torch.tensor(t, **DOUBLE), scale * x, labels, 2.0).isfinite().all()


def test_single_precision_leaves_no_trace():
    t, x, labels = torch.tensor(0.4, **DOUBLE), normal(2, 3, 32, 32), torch.tensor([1, 2])
    model = textures()
    assert model.dtype == torch.float32
    single = model.predict(t, x.float(), labels)
    double = model.to("cpu", torch.float64).predict(t, x, labels)
    assert torch.equal(double, TextureModel(spectral_mixture()).to("cpu", torch.float64).predict(t, x, labels))
    torch.testing.assert_close(single, double.float(), rtol=1e-4, atol=1e-4)


def test_single_precision_resolves_the_truth_and_solvers_are_told_apart():
    model, x = textures(), normal(8, 3, 32, 32)
    labels = model.conditions(torch.arange(8))
    truth, _ = solve(model.field(labels, 2.0), x.float(), 1e-6)
    tables = (trace(rule, model.path, model.interval) for rule in (euler_4, unipc_16))
    coarse, fine = (table(model.field(labels, 2.0), x.float()) for table in tables)
    exact, _ = solve(textures().to("cpu", torch.float64).field(labels, 2.0), x, 1e-8)
    assert psnr_per_sample(truth, exact, 2.0).min() > 90
    assert 12 < psnr_per_sample(coarse, exact, 2.0).mean() < 25
    assert 35 < psnr_per_sample(fine, exact, 2.0).mean() < 55


def euler_4(field, x0):
    return euler(field, x0, 4)


def unipc_16(field, x0):
    return unipc(field, x0, 16, grid="logsnr")


def test_pixels_have_the_range_of_images():
    pixels = textures().reference().samples
    assert 0.35 < pixels.std() < 0.5
    assert (pixels.abs() > 1.2).double().mean() < 0.01
    assert pixels.mean((0, 2, 3)).abs().max() < 0.3


def test_drawn_samples_have_the_mixture_s_moments():
    mixture = random_mixture()
    drawn = mixture.sample(torch.ones(20_000, dtype=torch.int64), torch.Generator().manual_seed(0)).flatten(1)
    full = dense(mixture)
    means, covariance = full.means[2:], full.factors[2] @ full.factors[2].T
    torch.testing.assert_close(drawn.mean(0), means.mean(0), rtol=0, atol=0.03)
    apart = (means[0] - means[1]) / 2
    torch.testing.assert_close(drawn.T.cov(), covariance + apart[:, None] * apart, rtol=0, atol=0.06)


def test_spectra_are_power_laws_with_an_orientation():
    sunset, *_, diagonals = TEXTURES
    spectrum = diagonals.spectrum(32)
    assert float(spectrum.mean()) == pytest.approx(0.25**2)
    assert torch.equal(spectrum, spectrum.mT)
    # Far above the corner, twice the frequency has 2^-(2 slope) of the variance.
    assert float(spectrum[0, 30, 0] / spectrum[0, 15, 0]) == pytest.approx(2 ** (-2 * diagonals.slope), rel=0.03)
    assert (sunset.spectrum(32)[:, 5, 0] > 10 * sunset.spectrum(32)[:, 0, 5]).all()


def test_references_are_seeded_and_labelled():
    reference = textures().reference()
    assert reference.samples.shape == (2000, 3, 32, 32)
    assert reference.labels is not None
    assert torch.equal(reference.labels, torch.arange(2000) % 8)
    assert torch.equal(reference.samples, textures("vp").reference().samples)


def test_fingerprints_tell_paths_apart_and_never_change():
    # When this fails, results do not compare with earlier ones: the version in the model's record must change.
    assert textures().fingerprint() == textures().to("cpu", torch.float64).fingerprint()
    assert [textures(path).fingerprint()[:12] for path in PATHS[:3]] == ["9b3a50211ce2", "621fb68db363", "f144a31b1e15"]


def test_unknown_path_is_refused():
    with pytest.raises(UsageError, match="choose from condot, cosine, vp, discrete-vp, edm, ve"):
        textures("spiral")
