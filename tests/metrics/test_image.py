from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
import torch
from skimage.metrics import structural_similarity

from bnsbench.errors import DivergedError, NotApplicableError
from bnsbench.metrics.image import Perceptual, Psnr, Ssim
from bnsbench.models.digits.features import digit_classifier
from bnsbench.statistics import mean_interval
from bnsbench.truth.psnr import psnr_per_sample


def noisy(n: int = 20, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    truth = torch.rand(n, 1, 8, 8, generator=g, dtype=dtype) * 2 - 1
    sizes = torch.logspace(-4, 0, n, dtype=dtype)[:, None, None, None]
    return truth + sizes * torch.randn(truth.shape, generator=g, dtype=dtype), truth


def test_summary_is_that_of_the_per_sample_values(sample_set):
    samples, truth = noisy()
    result = Psnr()(sample_set(samples, truth))
    values = np.array(result.per_sample)
    assert result.value == pytest.approx(values.mean())
    assert result.details["median"] == pytest.approx(np.median(values))
    assert result.details["p05"] == pytest.approx(np.quantile(values, 0.05))
    assert (result.details["n"], result.details["data_range"]) == (20, 2.0)
    interval = scipy.stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (result.low, result.high) == pytest.approx((interval.low, interval.high))


def test_a_metric_may_name_the_network_that_compares(sample_set):
    class Named(Psnr):
        def info(self, samples):
            return {"network": "0123abcd"}

    samples, truth = noisy()
    assert Named()(sample_set(samples, truth)).info == {"network": "0123abcd"}
    assert Psnr()(sample_set(samples, truth)).info == {}


def covers_zero(draw: torch.Tensor) -> bool:
    low, high = mean_interval(draw)
    assert low is not None
    assert high is not None
    return low < 0 < high


def test_interval_covers_the_mean_as_often_as_it_says():
    g = torch.Generator().manual_seed(0)
    draws = torch.randn(2000, 12, generator=g, dtype=torch.float64)
    covered = [covers_zero(draw) for draw in draws]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize(("dtype", "cap"), [(torch.float32, 138.47), (torch.float64, 313.07), (torch.bfloat16, 42.14)])
def test_identical_samples_have_the_rounding_floor_of_their_dtype(sample_set, dtype, cap):
    truth = noisy(4, torch.float32)[1].to(dtype)
    result = Psnr()(sample_set(truth.clone(), truth))
    assert result.value == pytest.approx(cap, abs=0.01)
    assert result.per_sample == pytest.approx([cap] * 4, abs=0.01)


def test_constant_error_has_the_textbook_value(sample_set):
    truth = torch.zeros(3, 1, 8, 8, dtype=torch.float64)
    assert Psnr()(sample_set(truth + 0.2, truth)).value == pytest.approx(20 * math.log10(2 / 0.2))


def test_single_sample_has_a_value_and_no_interval(sample_set):
    samples, truth = noisy(1)
    result = Psnr()(sample_set(samples, truth))
    assert math.isfinite(result.value)
    assert (result.low, result.high) == (None, None)


def test_latents_count_and_not_what_they_decode_to(sample_set):
    _, truth = noisy()
    result = Psnr()(sample_set(2 * truth, truth, decoder=lambda states: states.clamp(-1, 1)))
    assert result.value == pytest.approx(float(psnr_per_sample(2 * truth, truth, 2.0).mean()))


def test_diverged_samples_raise(sample_set):
    samples, truth = noisy()
    samples[3, 0, 0, 0] = math.nan
    with pytest.raises(DivergedError, match="1 of 20"):
        Psnr()(sample_set(samples, truth))


def rgb(n: int = 6, side: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    """Smooth images with noise, and without."""
    g = torch.Generator().manual_seed(0)
    coarse = torch.randn(n, 3, 4, 4, generator=g)
    truth = torch.nn.functional.interpolate(coarse, side, mode="bicubic").tanh()
    return truth + 0.1 * torch.randn(truth.shape, generator=g), truth


@pytest.mark.parametrize("side", [32, 16])
def test_similarity_is_scikit_image_s(sample_set, side):
    samples, truth = rgb(side=side)
    expected = [
        structural_similarity(
            a.clamp(-1, 1).numpy(),
            b.clamp(-1, 1).numpy(),
            channel_axis=0,
            data_range=2.0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        for a, b in zip(samples, truth, strict=True)
    ]
    assert Ssim()(sample_set(samples, truth)).per_sample == pytest.approx(expected, abs=1e-4)


def test_similarity_of_digits_is_scikit_image_s(sample_set, images):
    truth = images.samples[:10]
    samples = truth + 0.2 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
    pairs = zip(samples.clamp(-1, 1).numpy(), truth.numpy(), strict=True)
    settings = {"channel_axis": 0, "data_range": 2.0, "win_size": 7, "use_sample_covariance": False}
    expected = [structural_similarity(a, b, **settings) for a, b in pairs]
    assert Ssim()(sample_set(samples, truth)).per_sample == pytest.approx(expected, abs=1e-4)


def test_perceptual_distance_is_its_formula(sample_set, images):
    truth = images.samples[:7]
    samples = truth + 0.2 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
    classifier = digit_classifier()
    expected = np.zeros(7)
    for a, b in zip(classifier.activations(samples.clamp(-1, 1)), classifier.activations(truth), strict=True):
        one, other = (part.numpy() / np.linalg.norm(part.numpy(), axis=1, keepdims=True) for part in (a, b))
        expected += ((one - other) ** 2).sum(1).mean((1, 2))
    assert Perceptual()(sample_set(samples, truth)).per_sample == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("metric", "best"), [(Ssim, 1.0), (Perceptual, 0.0)])
def test_equal_and_constant_images_have_the_best_value(metric, best, sample_set, images):
    for same in (images.samples[:5], torch.zeros(5, 1, 8, 8), images.samples[:1]):
        assert metric()(sample_set(same, same.clone())).value == pytest.approx(best, abs=1e-6)


@pytest.mark.parametrize("metric", [Ssim, Perceptual])
def test_values_follow_the_error_and_not_the_batches(metric, sample_set, images):
    truth = images.samples[:300]
    noise = torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
    results = [metric()(sample_set(truth + size * noise, truth)) for size in (0.02, 0.1, 0.5)]
    values = [result.value for result in results]
    assert values == sorted(values, reverse=metric is Ssim)
    part = metric()(sample_set(truth[7:20] + 0.1 * noise[7:20], truth[7:20]))
    assert part.per_sample == pytest.approx(results[1].per_sample[7:20], rel=1e-3)


@pytest.mark.parametrize("metric", [Ssim, Perceptual])
def test_broken_images_raise(metric, sample_set, images):
    broken = images.samples[:5].clone()
    broken[0, 0, 0, 0] = math.inf
    with pytest.raises(DivergedError, match="1 of 5"):
        metric()(sample_set(broken, images.samples[:5]))


def test_only_images_are_similar(sample_set):
    points = torch.zeros(4, 2)
    with pytest.raises(NotApplicableError, match="are no images"):
        Ssim()(sample_set(points, points))
    tiny = torch.zeros(4, 1, 5, 9)
    with pytest.raises(NotApplicableError, match="at least 7x7 pixels, not 5"):
        Ssim()(sample_set(tiny, tiny))


def test_perception_needs_features_of_the_data(sample_set, images, model, monkeypatch):
    monkeypatch.setattr(type(model), "features", lambda _: None)
    with pytest.raises(NotApplicableError, match="needs features of images, and DigitsModel brings none"):
        Perceptual()(sample_set(images.samples[:4], images.samples[:4]))
