from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from bnsbench.errors import UsageError
from bnsbench.metrics.extractors import EXTRACTION_BATCH, Extractor, own_extractor, to_uint8
from bnsbench.metrics.real_data import open_images
from bnsbench.metrics.references import FeatureCache, features_of_files, features_of_samples, features_of_truth
from bnsbench.models.digits.features import digit_features

CPU = torch.device("cpu")
SHAPE = (1, 8, 8)


class Counting(Extractor):
    """The extractor of digits, also of grey ones in three channels, which remembers how many it was given at a time."""

    calls: list[int]

    def __init__(self, fingerprint: str = "counting") -> None:
        real = own_extractor(digit_features())
        super().__init__(real.network, real.width, fingerprint)
        object.__setattr__(self, "calls", [])

    def features(self, samples: torch.Tensor) -> torch.Tensor:
        self.calls.append(len(samples))
        return super().features(samples[:, :1])


def save(images: torch.Tensor, folder) -> None:
    folder.mkdir(exist_ok=True)
    for number, image in enumerate(to_uint8(images)):
        Image.fromarray(image[0].numpy()).save(folder / f"{number:04}.png")


def test_memory_computes_each_set_once_and_forgets_the_oldest():
    extractor, cache = own_extractor(digit_features()), FeatureCache(size=2)
    computed = []

    def features(key):
        def compute():
            computed.append(key)
            return torch.full((2, 3), float(key))

        return cache.features(extractor, key, compute)

    for key in ("1", "1", "2", "1", "3", "1"):
        assert torch.equal(features(key), torch.full((2, 3), float(key)))
    assert computed == ["1", "2", "3"]
    features("2")
    assert computed == ["1", "2", "3", "2"]


def test_memory_is_bounded_by_numbers_too():
    extractor, cache = own_extractor(digit_features()), FeatureCache(size=9, room=10)
    computed = []

    def ask(key, rows):
        def compute():
            computed.append(key)
            return torch.zeros(rows, 1)

        return cache.features(extractor, key, compute)

    for key, rows in (("a", 4), ("b", 6), ("a", 4), ("c", 4), ("a", 4), ("b", 6), ("large", 99), ("large", 99)):
        assert len(ask(key, rows)) == rows
    assert computed == ["a", "b", "c", "b", "large"]


def test_the_features_of_ground_truth_are_kept_for_all_solvers(sample_set, images, tmp_path):
    truth, extractor = images.samples[:30], Counting("truth")
    expected = own_extractor(digit_features()).features(to_uint8(truth))
    for noise in (0.1, 0.2):
        with pytest.MonkeyPatch.context() as patch:  # another process has nothing in memory
            patch.setattr("bnsbench.metrics.references._CACHE", FeatureCache())
            found = features_of_truth(extractor, sample_set(truth + noise, truth, cache=tmp_path), to_uint8)
            torch.testing.assert_close(found.features, expected, rtol=1e-4, atol=1e-5)
    assert extractor.calls == [30]
    other = features_of_truth(extractor, sample_set(truth, truth + 0.1, cache=tmp_path), to_uint8)
    assert extractor.calls == [30, 30]
    assert other.key != found.key


def test_metrics_of_one_cell_share_the_features_of_its_samples(sample_set, images):
    """Features of the same end states are extracted once, and again where states, decoder or extractor are others."""
    truth, extractor = images.samples[:30], Counting("shared")
    samples = truth + 0.1
    expected = own_extractor(digit_features()).features(to_uint8(samples))
    for _ in range(2):
        found = features_of_samples(extractor, sample_set(samples.clone(), truth), to_uint8)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert extractor.calls == [30]
    features_of_samples(extractor, sample_set(truth, truth), to_uint8)
    features_of_samples(extractor, sample_set(samples, truth, decoder=lambda x: -x), to_uint8)
    assert extractor.calls == [30, 30, 30]
    other = Counting("another")
    features_of_samples(other, sample_set(samples, truth), to_uint8)
    assert other.calls == [30]


def test_bfloat16_truth_is_told_apart(sample_set, images):
    truth = images.samples[:30]
    keys = {
        features_of_truth(
            own_extractor(digit_features()),
            sample_set(truth, truth, decoder=lambda x, shift=shift: (x + shift).bfloat16()),
            to_uint8,
        ).key
        for shift in (0.0, 0.5)
    }
    assert len(keys) == 2


def test_files_give_the_features_of_their_images_in_batches(images, tmp_path):
    save(images.samples[:300], tmp_path / "data")
    extractor = Counting("batches")
    told: list[str] = []
    found = features_of_files(extractor, open_images(str(tmp_path / "data"), SHAPE), CPU, progress=told.append)
    expected = own_extractor(digit_features()).features(to_uint8(images.samples[:300]))
    torch.testing.assert_close(found.features, expected, rtol=1e-4, atol=1e-5)
    assert extractor.calls == [EXTRACTION_BATCH, 300 - EXTRACTION_BATCH]
    assert told[-1].endswith("data: 300 of 300")


def test_features_are_kept_on_disk_for_these_files_this_form_and_this_extractor(images, tmp_path):
    save(images.samples[:20], tmp_path / "data")
    cache = tmp_path / "cache"

    def calls(fingerprint, shape=SHAPE):
        extractor = Counting(fingerprint)
        features_of_files(extractor, open_images(str(tmp_path / "data"), shape), CPU, cache)
        return extractor.calls

    assert calls("kept") == [20]
    # Another process has nothing in memory.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bnsbench.metrics.references._CACHE", FeatureCache())
        assert calls("kept") == []
        [file] = cache.glob("*.safetensors")
        file.write_bytes(file.read_bytes()[:-3])
        patch.setattr("bnsbench.metrics.references._CACHE", FeatureCache())
        assert calls("kept") == [20]
    assert calls("other") == [20]
    assert calls("kept", (3, 8, 8)) == [20]
    save(images.samples[20:21], tmp_path / "data")
    assert calls("kept") == [20]


def test_statistics_of_another_extractor_are_refused_or_left_aside(images, tmp_path):
    mu, sigma = np.zeros(5), np.eye(5)
    np.savez(tmp_path / "alone.npz", mu=mu, sigma=sigma)
    np.savez(tmp_path / "both.npz", arr_0=to_uint8(images.samples[:4]).permute(0, 2, 3, 1).numpy(), mu=mu, sigma=sigma)
    extractor = own_extractor(digit_features())
    with pytest.raises(UsageError, match=r"alone\.npz are not those of the 32 features .* give weights=FILE"):
        features_of_files(extractor, open_images(str(tmp_path / "alone.npz"), SHAPE), CPU)
    found = features_of_files(extractor, open_images(str(tmp_path / "both.npz"), SHAPE), CPU)
    assert (found.statistics, len(found.features)) == (None, 4)
    assert found.info["reference_kind"] == "images"
