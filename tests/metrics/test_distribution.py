from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.linalg
import scipy.spatial
import torch
from torch.utils.data import Dataset
from torch_fidelity import calculate_metrics

from bnsbench.errors import DivergedError, NotApplicableError
from bnsbench.metrics.distribution import (
    FeatureCache,
    FrechetDistance,
    fid,
    fid_gt,
    frechet_distance,
    kid,
    kid_gt,
    precision,
    recall,
)
from bnsbench.metrics.extractors import DIGITS, Extractor, extractor_for, to_uint8


class Images(Dataset):
    """uint8 images as bare tensors, the only kind of dataset that torch-fidelity accepts."""

    def __init__(self, images: torch.Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.images[index]


def fidelity(images: torch.Tensor, reference: torch.Tensor) -> float:
    extractor_for((1, 8, 8))
    result = calculate_metrics(
        input1=Images(to_uint8(images)),
        input2=Images(to_uint8(reference)),
        feature_extractor=DIGITS,
        fid=True,
        cuda=False,
        cache=False,
        save_cpu_ram=True,
        verbose=False,
        batch_size=256,
    )
    return result["frechet_inception_distance"]


def floor(features: torch.Tensor, labels: torch.Tensor | None, n: int) -> float:
    return fid().floor(features, labels, n)["floor"]


def test_distance_agrees_with_scipy_s_matrix_root():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(500, 6)) @ rng.normal(size=(6, 6))
    b = rng.normal(size=(300, 6)) + 0.5
    s, t = np.cov(a.T), np.cov(b.T)
    expected = np.sum((a.mean(0) - b.mean(0)) ** 2) + np.trace(s + t - 2 * scipy.linalg.sqrtm(s @ t).real)
    assert frechet_distance(torch.tensor(a), torch.tensor(b)) == pytest.approx(expected, rel=1e-9)


def test_distance_of_shifted_sets_is_the_squared_shift():
    features = torch.randn(200, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert frechet_distance(features, features + 0.3) == pytest.approx(5 * 0.3**2, rel=1e-6)


def test_distance_to_the_data_equals_torch_fidelity_s(sample_set, images):
    noisy = (images.samples[:600] + 0.3 * torch.randn(600, 1, 8, 8, generator=torch.Generator().manual_seed(0))).clamp(
        -1.5, 1.5
    )
    result = fid()(sample_set(noisy, images.samples[:600]))
    assert result.value == pytest.approx(fidelity(noisy, images.samples), rel=1e-6, abs=1e-6)
    assert result.details["reference_n"] == 1797
    assert 0 < result.details["floor"] < result.value


def test_distance_to_the_truth_equals_torch_fidelity_s(sample_set, images):
    noisy = images.samples[:500] + 0.2 * torch.randn(500, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    result = fid_gt()(sample_set(noisy, images.samples[:500]))
    assert result.value == pytest.approx(fidelity(noisy, images.samples[:500]), rel=1e-6, abs=1e-6)
    assert "floor" not in result.details


def test_identical_sets_are_at_distance_zero(sample_set, images):
    chosen = images.samples[:500]
    assert fid_gt()(sample_set(chosen, chosen.clone())).value == pytest.approx(0, abs=1e-4)


def test_distance_grows_with_the_error(sample_set, images):
    truth = images.samples[:500]
    noise = torch.randn(truth.shape, generator=torch.Generator().manual_seed(2))
    values = [fid_gt()(sample_set(truth + size * noise, truth)).value for size in (0.05, 0.2, 0.5)]
    assert values == sorted(values)
    assert values[2] > 4 * values[0]


def test_too_few_samples_are_refused_unless_allowed(sample_set, images):
    few = sample_set(images.samples[:40], images.samples[40:80])
    with pytest.raises(NotApplicableError, match="32 features needs at least 480 samples, not 40"):
        fid()(few)
    assert fid(minimum=40)(few).value > 0
    with pytest.raises(NotApplicableError, match="not 1"):
        fid(minimum=1)(sample_set(images.samples[:1], images.samples[:1]))


def test_constant_images_have_a_finite_distance(sample_set, images):
    constant = torch.zeros(480, 1, 8, 8)
    value = fid()(sample_set(constant, images.samples[:480])).value
    assert np.isfinite(value)
    assert value > 1


def test_diverged_samples_raise(sample_set, images):
    broken = images.samples[:500].clone()
    broken[0] = torch.nan
    with pytest.raises(DivergedError, match="1 of 500"):
        fid()(sample_set(broken, images.samples[:500]))


def test_models_without_data_have_no_distance_to_it(sample_set, images, model, monkeypatch):
    monkeypatch.setattr(type(model), "reference", lambda _: None)
    with pytest.raises(NotApplicableError, match="no data set"):
        fid()(sample_set(images.samples[:500], images.samples[:500]))


def test_floor_is_small_and_shrinks_with_more_samples(images):
    features = extractor_for((1, 8, 8)).features(to_uint8(images.samples))
    assert 0 < floor(features, None, 800) < floor(features, None, 100)
    assert floor(features, images.labels, 800) < floor(features, images.labels, 100)


def test_floor_deals_the_classes_out_evenly():
    # Class 0 sits at the origin and class 1 at distance 10; the even draw leaves 10 and 30 of them, 10 and 10 chosen.
    labels = torch.tensor([0] * 20 + [1] * 40)
    features = torch.stack([labels * 10.0, torch.zeros(60)], dim=1)
    # Means 5 and 7.5; variances 25 * 20/19 and 18.75 * 40/39.
    expected = 2.5**2 + (math.sqrt(25 * 20 / 19) - math.sqrt(18.75 * 40 / 39)) ** 2
    assert floor(features, labels, 20) == pytest.approx(expected, rel=1e-5)


def test_cache_computes_each_content_once_and_forgets_the_oldest(images):
    real = extractor_for((1, 8, 8))
    calls = []

    class Counting(Extractor):
        def features(self, levels: torch.Tensor) -> torch.Tensor:
            calls.append(len(levels))
            return super().features(levels)

    counting = Counting(real.network, real.width, real.fingerprint)
    cache = FeatureCache(size=2)
    first, second, third = (to_uint8(images.samples[k : k + 10]) for k in (0, 10, 20))
    for levels in (first, first.clone(), second, first, third, first):
        torch.testing.assert_close(cache.features(counting, levels), real.features(levels))
    assert len(calls) == 3
    cache.features(counting, second)
    assert len(calls) == 4


def test_result_names_its_extractor(sample_set, images):
    result = FrechetDistance("truth")(sample_set(images.samples[:480], images.samples[480:960]))
    assert result.info == {"extractor": extractor_for((1, 8, 8)).fingerprint}
    assert (result.details["n"], result.details["width"]) == (480, 32)


def cubic(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a @ b.T / a.shape[1] + 1) ** 3


def test_kernel_distance_is_the_unbiased_estimate(sample_set, images):
    truth = images.samples[:300]
    noisy = truth + 0.5 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
    result = kid_gt()(sample_set(noisy, truth))
    a, b = (extractor_for((1, 8, 8)).features(to_uint8(part)).double().numpy() for part in (noisy, truth))
    within = [(cubic(x, x).sum() - np.trace(cubic(x, x))) / (300 * 299) for x in (a, b)]
    # As many samples as a subset holds: every subset is the whole set, and gives the same.
    assert result.value == pytest.approx(sum(within) - 2 * cubic(a, b).mean(), rel=1e-5)
    assert result.details["subset"] == 300
    assert result.details["subset_deviation"] == pytest.approx(0, abs=1e-6)
    assert kid()(sample_set(noisy, truth)).value > 5 * abs(kid()(sample_set(truth, truth)).details["floor"])


def test_precision_and_recall_agree_with_a_nearest_neighbour_search(sample_set, images):
    made = images.samples[:400] + 0.4 * torch.randn(400, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    samples = sample_set(made, images.samples[:400])
    a, b = (extractor_for((1, 8, 8)).features(to_uint8(part)).numpy() for part in (made, images.samples))
    between = scipy.spatial.distance.cdist(a, b)
    radii = [np.sort(scipy.spatial.distance.cdist(x, x), axis=1)[:, 3] for x in (a, b)]
    assert precision()(samples).value == pytest.approx((between <= radii[1]).any(1).mean(), abs=0.01)
    assert recall()(samples).value == pytest.approx((between <= radii[0][:, None]).any(0).mean(), abs=0.01)
    assert precision()(samples).value < 0.9 * precision()(samples).details["floor"]


@pytest.mark.parametrize(("metric", "least"), [(kid, 100), (kid_gt, 100), (precision, 250), (recall, 250)])
def test_other_metrics_refuse_too_few_samples_and_broken_ones(metric, least, sample_set, images):
    few = images.samples[: least - 1]
    with pytest.raises(NotApplicableError, match=f"needs at least {least} samples, not {least - 1}"):
        metric()(sample_set(few, few))
    assert math.isfinite(metric(minimum=50)(sample_set(few, few)).value)
    broken = images.samples[:least].clone()
    broken[3] = torch.nan
    with pytest.raises(DivergedError, match=f"1 of {least}"):
        metric()(sample_set(broken, images.samples[:least]))
