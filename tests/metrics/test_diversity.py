"""Diversity of samples of the same condition: its formula pair by pair, and sets of which it is known."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch

from bnsbench.errors import DivergedError, NotApplicableError, UsageError
from bnsbench.flows.features import SampleFeatures
from bnsbench.metrics.base import SampleSet
from bnsbench.metrics.diversity import Diversity, mean_distance, same_condition
from bnsbench.metrics.extractors import own_extractor, to_uint8
from bnsbench.metrics.image import clamped_images, perceptual_distance
from bnsbench.metrics.resampling import resamples
from bnsbench.models.digits.features import digit_features
from tests.metrics.shown import Shown

DISTANCES = ["features", "perceptual"]


class Pixels(SampleFeatures):
    """Pixels as features."""

    name = "pixels"
    width = 4

    def of_samples(self, samples: torch.Tensor) -> torch.Tensor:
        return samples.flatten(1)

    def fingerprint(self) -> str:
        return "pixels"


@pytest.fixture
def samples(sample_set, images) -> SampleSet:
    """200 digits by class, and the same with noise."""
    truth = images.samples[:200]
    made = truth + 0.3 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
    return sample_set(made, truth, condition=images.labels[:200])


def of_features(images: torch.Tensor) -> np.ndarray:
    x = own_extractor(digit_features()).features(to_uint8(images)).double().numpy()
    return np.array([[1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a in x] for b in x])


def of_activations(images: torch.Tensor) -> np.ndarray:
    with torch.no_grad():
        layers = digit_features().activations(clamped_images(images))
        rows = [perceptual_distance([layer[i : i + 1] for layer in layers], layers) for i in range(len(images))]
    return torch.stack(rows).numpy()


@pytest.mark.parametrize(("distance", "matrix"), [("features", of_features), ("perceptual", of_activations)])
def test_it_is_the_ratio_of_mean_distances_of_pairs(distance, matrix, samples):
    found = Diversity(distance)(samples)
    groups = same_condition(samples.condition, 8)
    means = []
    for images in (samples.samples, samples.truth):
        distances = matrix(images)
        means.append([np.mean([distances[i, j] for i, j in combinations(rows.tolist(), 2)]) for rows in groups])
    made, truth = np.array(means)
    assert found.value == pytest.approx(made.mean() / truth.mean(), rel=1e-4)
    assert found.details == pytest.approx(
        {"n": 200, "groups": len(groups), "distance": made.mean(), "distance_truth": truth.mean(), "truth": 1.0}, rel=1e-4
    )
    assert found.info == {"extractor": digit_features().fingerprint()}
    assert found.replicates is not None
    assert len(found.replicates) == 100
    for b, rows in enumerate(resamples(len(groups))[:3].numpy()):
        assert found.replicates[b] == pytest.approx(made[rows].mean() / truth[rows].mean(), rel=1e-4)


@pytest.mark.parametrize("distance", DISTANCES)
def test_equal_samples_are_as_diverse_and_copies_are_not(distance, samples):
    metric = Diversity(distance)
    assert metric(replace(samples, latents=samples.truth_latents.clone())).value == 1.0
    first = torch.stack([samples.truth_latents[(samples.condition == label).nonzero()[0, 0]] for label in range(10)])
    collapsed = metric(replace(samples, latents=first[samples.condition]))
    assert collapsed.value == pytest.approx(0.0, abs=1e-6)
    halfway = metric(replace(samples, latents=0.5 * (samples.truth_latents + first[samples.condition])))
    assert 0.1 < halfway.value < 0.9


def test_angles_have_their_cosine():
    """Two directions for each condition: 90 degrees apart in the truth, 60 in the samples."""
    right = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]])
    sharp = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.5, 0.75**0.5, 0.0, 0.0]])
    images, truth = (part.reshape(2, 1, 2, 2).repeat(12, 1, 1, 1) for part in (sharp, right))
    found = Diversity(seeds=2)(
        SampleSet(images, truth, torch.arange(12).repeat_interleave(2), 2.0, Shown((1, 2, 2), features=Pixels()))
    )
    # Of bytes as features, cos 60 degrees is met to half a level of 127.
    assert (found.details["distance"], found.details["distance_truth"]) == pytest.approx((0.5, 1.0), abs=0.01)
    assert found.value == pytest.approx(0.5, abs=0.01)


def test_rows_are_grouped_by_condition_and_share_none():
    condition = torch.tensor([3, 1, 3, 1, 3, 0, 1, 3, 3])
    assert [rows.tolist() for rows in same_condition(condition, 2)] == [[1, 3, 6], [0, 2, 4], [7, 8]]
    assert [rows.tolist() for rows in same_condition(condition, 8)] == [[1, 3, 6], [0, 2, 4, 7, 8]]
    words = torch.stack([condition, condition % 2, 7 * condition], dim=1)
    assert [rows.tolist() for rows in same_condition(words, 3)] == [[1, 3, 6], [0, 2, 4, 7, 8]]
    assert {len(rows) for rows in same_condition(torch.arange(510) % 10, 8)} == {8, 9}


def test_flat_samples_show_nothing():
    rows = torch.eye(3)
    assert float(mean_distance(rows, torch.zeros(3, dtype=torch.bool))) == pytest.approx(2.0)
    # One pair of three is left.
    assert float(mean_distance(rows, torch.tensor([True, False, False]))) == pytest.approx(2 / 3)
    assert float(mean_distance(rows, torch.tensor([True, True, False]))) == 0.0
    # Zeros have no direction: they are equal to each other.
    assert float(mean_distance(torch.zeros(2, 3), torch.zeros(2, dtype=torch.bool))) == 0.0


@pytest.mark.parametrize("distance", DISTANCES)
def test_where_there_is_nothing_to_compare(distance, samples):
    metric = Diversity(distance)
    with pytest.raises(NotApplicableError, match="these samples have none"):
        metric(replace(samples, condition=None))
    with pytest.raises(NotApplicableError, match="all 200 conditions are different"):
        metric(replace(samples, condition=torch.arange(200)))
    with pytest.raises(NotApplicableError, match="Ground-truth samples of the same condition are all the same"):
        metric(replace(samples, truth_latents=samples.truth_latents[:1].expand(200, 1, 8, 8)))
    with pytest.raises(NotApplicableError):
        metric(replace(samples, model=Shown((1, 8, 8))))
    broken = samples.latents.clone()
    broken[3] = torch.inf
    with pytest.raises(DivergedError, match="1 of 200 samples are not finite"):
        metric(replace(samples, latents=broken))


def test_few_groups_have_no_replicates(samples):
    enough = Diversity(seeds=50)(samples)
    assert enough.details["groups"] == 10
    assert enough.replicates is not None
    found = Diversity(seeds=50)(replace(samples, condition=samples.condition // 2))
    assert found.details["groups"] == 5
    assert found.replicates is None
    assert found.info["replicates"] == "none, for there are fewer than 10 groups of the same condition"


@pytest.mark.parametrize("distance", DISTANCES)
def test_sets_too_large_to_be_kept_are_judged_alike(distance, samples, monkeypatch):
    whole = Diversity(distance)(samples)
    monkeypatch.setattr("bnsbench.metrics.base.KEPT_NUMBERS", 0)
    monkeypatch.setattr("bnsbench.metrics.base.PART", 64)
    assert Diversity(distance)(replace(samples)).value == pytest.approx(whole.value, rel=1e-5)


def test_what_cannot_be_asked_is_said(tmp_path):
    with pytest.raises(UsageError, match="no distance 'pixels': choose features or perceptual"):
        Diversity("pixels")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="seeds cannot be 1"):
        Diversity(seeds=1)
    with pytest.raises(UsageError, match="There is no Inception-v3 weights file"):
        Diversity(weights=str(tmp_path / "none.pth"))
    assert Diversity().fingerprint() == ""
    (tmp_path / "weights.pth").write_bytes(b"weights")
    assert Diversity(weights=str(tmp_path / "weights.pth")).fingerprint() != ""
