"""Density and coverage: the paper's formulas written out, and sets of which both are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bnsbench.errors import DivergedError, NotApplicableError
from bnsbench.metrics import resampling
from bnsbench.metrics.density_coverage import coverage, coverage_gt, density, density_gt
from bnsbench.metrics.extractors import own_extractor, to_uint8
from bnsbench.metrics.resampling import coverages, densities, resamples
from bnsbench.models.digits.features import digit_features

K = 5


def by_loops(
    made: np.ndarray, real: np.ndarray, k: int = K, own: np.ndarray | None = None, full: int | None = None
) -> tuple[float, float]:
    """Density and coverage, point by point."""
    inside = np.zeros((len(real), len(made)), dtype=bool)
    for i, point in enumerate(real):
        others = np.delete(real, i, axis=0)
        radius = np.sort(np.sqrt(((others - point) ** 2).sum(axis=1)))[k - 1]
        inside[i] = np.sqrt(((made - point) ** 2).sum(axis=1)) < radius
    return inside.sum() / (k * len(made)), inside.any(axis=1).mean()


def by_loops_of_pairs(made: np.ndarray, real: np.ndarray, rows: np.ndarray) -> tuple[float, float]:
    """The same of samples ``rows``, each with a reference that lacks its own ground truth."""
    distances = np.sqrt(((real[:, None] - real) ** 2).sum(axis=2))
    inside = np.zeros((len(real), len(rows)), dtype=bool)
    for column, j in enumerate(rows):
        for i in set(range(len(real))) - {j}:
            radius = np.sort(np.delete(distances[i], [i, j]))[K - 1]
            inside[i, column] = np.sqrt(((made[j] - real[i]) ** 2).sum()) < radius
    return inside.sum() / (K * len(rows)), inside.any(axis=1).mean()


def both(made: torch.Tensor, real: torch.Tensor, k: int = K) -> tuple[float, float]:
    once = torch.ones(1, len(made), dtype=torch.float64)
    return float(densities(made, real, once, k)), float(coverages(made, real, once, k))


def normal(n: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def features(images: torch.Tensor) -> np.ndarray:
    return own_extractor(digit_features()).features(to_uint8(images)).double().numpy()


@pytest.mark.parametrize("k", [1, 5])
@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
def test_both_are_the_paper_s_formulas(k, scale):
    made, real = scale * normal(90, 3) + 0.2, normal(120, 3, 1)
    assert both(made, real, k) == pytest.approx(by_loops(made.numpy(), real.numpy(), k), abs=1e-12)


def test_of_samples_of_a_model_too(sample_set, images):
    truth = images.samples[:400]
    made = truth + 0.4 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
    samples = sample_set(made, truth)
    to_data = by_loops(features(made), features(images.samples))
    assert (density()(samples).value, coverage()(samples).value) == pytest.approx(to_data, abs=1e-9)
    assert coverage()(samples).value < coverage()(samples).details["truth"] <= 1


def test_to_the_truth_a_sample_s_own_is_left_out(sample_set, images):
    truth = images.samples[:60]
    made = truth + 0.4 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
    found = [metric(minimum=10)(sample_set(made, truth)) for metric in (density_gt, coverage_gt)]
    expected = by_loops_of_pairs(features(made), features(truth), np.arange(60))
    assert [each.value for each in found] == pytest.approx(expected, abs=1e-9)
    resampled = by_loops_of_pairs(features(made), features(truth), resamples(60)[3].numpy())
    assert [(each.replicates or ())[3] for each in found] == pytest.approx(resampled, abs=1e-9)


def test_nearly_exact_samples_are_as_dense_as_their_truth():
    """No neighbour is on an edge: whose k nearest a truth is among, its sample lies well within."""
    truth = normal(300, 8)
    once = torch.ones(1, 300, dtype=torch.float64)
    found = [float(densities(truth + size * normal(300, 8, 1), truth, once, K, paired=True)) for size in (0.0, 1e-5)]
    assert found == pytest.approx([1.0, 1.0], abs=0.003)
    assert float(coverages(truth + 1e-5, truth, once, K, paired=True)) == 1.0


@pytest.mark.parametrize("offset", [0.0, 1000.0])
@pytest.mark.parametrize("width", [2, 64])
def test_a_set_has_one_and_one_against_itself(width, offset):
    """Every point lies in its own ball and in k - 1 others on average, for the k-th neighbour of each is on an edge."""
    points = (normal(300, width) + offset).float()
    assert both(points, points.clone()) == pytest.approx((1.0, 1.0), abs=1e-12)


def test_equal_samples_have_one_and_one_of_their_truth(sample_set, images):
    same = sample_set(images.samples[:300], images.samples[:300].clone())
    found = density_gt()(same), coverage_gt()(same)
    assert [each.value for each in found] == pytest.approx([1.0, 1.0], abs=1e-12)
    assert [each.details["truth"] for each in found] == [1.0, 1.0]


def test_fresh_samples_have_a_density_of_one():
    """Of the data's own distribution; coverage is 1 - (1/2)^k where both are as many and k is small beside them."""
    found = both(normal(3000, 2), normal(3000, 2, 1))
    assert found[0] == pytest.approx(1.0, abs=0.03)
    assert found[1] == pytest.approx(1 - 0.5**K, abs=0.015)


def test_a_set_that_keeps_one_mode_of_four_covers_a_quarter():
    centres = 100 * torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], dtype=torch.float64)
    real = normal(400, 2) + centres.repeat(100, 1)
    kept = real[::4]
    assert both(kept, real) == pytest.approx((1.0, 0.25), abs=1e-12)
    # A single point covers the balls that it lies in, and its copies make it no denser.
    inside = by_loops(real[:1].numpy(), real.numpy())[0] * K
    assert both(real[:1].expand(50, 2), real) == pytest.approx((inside / K, inside / 400), abs=1e-12)


def test_what_is_far_away_has_none():
    assert both(normal(50, 2) + 100, normal(60, 2, 1)) == (0.0, 0.0)


def test_replicates_are_those_of_resampled_samples(sample_set, images, monkeypatch):
    truth = images.samples[:250]
    made = truth + 0.3 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
    samples, shown = sample_set(made, truth), features(made)
    found = [metric(samples).replicates for metric in (density(), coverage())]
    for b, rows in enumerate(resamples(250)[:2].numpy()):
        assert [(each or ())[b] for each in found] == pytest.approx(
            by_loops(shown[rows], features(images.samples)), abs=1e-9
        )
    monkeypatch.setattr(resampling, "MOST_PAIRS", 100_000)
    refused = coverage()(samples)
    assert refused.replicates is None
    assert refused.info["replicates"] == "none, for distances of 250 samples and 1797 real ones take too long"


def test_blocks_are_not_seen(monkeypatch):
    made, real = normal(70, 4), normal(110, 4, 1)
    whole = both(made, real)
    monkeypatch.setattr(resampling, "BLOCK", 500)
    assert both(made, real) == pytest.approx(whole, abs=1e-12)


@pytest.mark.parametrize("metric", [density, coverage, density_gt, coverage_gt])
def test_too_few_samples_are_refused(metric, sample_set, images):
    few = sample_set(images.samples[:249], images.samples[:249])
    with pytest.raises(NotApplicableError, match="needs at least 250 samples, not 249"):
        metric()(few)
    assert metric(minimum=7)(few).value > 0
    with pytest.raises(NotApplicableError, match="needs at least 7 samples, not 5"):
        metric(minimum=1)(sample_set(images.samples[:5], images.samples[:5]))


def test_copies_of_one_sample_have_no_density(sample_set, images):
    copies = sample_set(images.samples[:1].expand(300, 1, 8, 8), images.samples[:300])
    with pytest.raises(DivergedError, match="300 of 300 samples are the same"):
        density()(copies)
    assert coverage()(copies).value < 0.1
