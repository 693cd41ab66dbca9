from __future__ import annotations

import pytest
import torch
from torch.nn.functional import normalize

from bnsbench.errors import NotApplicableError, UsageError
from bnsbench.flows.features import SampleFeatures
from bnsbench.metrics.base import SampleSet
from bnsbench.metrics.distribution import fad_gt, fid, kid, precision
from bnsbench.metrics.extractors import extractor_for, own_extractor, to_uint8
from bnsbench.models.digits.features import digit_classifier, digit_features
from bnsbench.models.scenes.data import random_scenes
from bnsbench.models.scenes.features import scene_classifier
from bnsbench.models.scenes.model import scenes
from tests.metrics.shown import Shown


def test_uint8_rule_clamps_and_rounds():
    values = torch.tensor([-2.0, -1.0, -0.999, 0.0, 0.5, 1.0, 3.0])
    assert to_uint8(values).tolist() == [0, 0, 0, 128, 191, 255, 255]


def test_half_precision_is_rounded_once():
    levels = torch.arange(256)
    values = (levels / 127.5 - 1).to(torch.bfloat16)
    expected = ((values.double() + 1) * 127.5).round()
    assert to_uint8(values).tolist() == expected.tolist()


def test_digit_features_are_the_classifier_s(images, model):
    levels = to_uint8(images.samples[:300])
    extractor = extractor_for(model, (1, 8, 8))
    features = extractor.features(levels)
    assert features.shape == (300, extractor.width)
    torch.testing.assert_close(features, digit_classifier().features(levels.float() / 127.5 - 1), rtol=1e-4, atol=1e-5)


def test_batches_do_not_change_features(images):
    levels = to_uint8(images.samples[:600])
    extractor = own_extractor(digit_features())
    parts = torch.cat([extractor.features(part) for part in levels.split(7)])
    torch.testing.assert_close(parts, extractor.features(levels), rtol=1e-4, atol=1e-5)


def test_rgb_images_need_a_local_weights_file(tmp_path):
    stranger = Shown((3, 32, 32))
    with pytest.raises(NotApplicableError, match="give weights=PATH"):
        extractor_for(stranger, (3, 32, 32))
    with pytest.raises(UsageError, match=r"no Inception-v3 weights file .*absent\.pth"):
        extractor_for(stranger, (3, 32, 32), str(tmp_path / "absent.pth"))


@pytest.mark.parametrize("shape", [(2,), (1, 8, 8), (1, 28, 28), (64, 64)])
def test_other_samples_have_no_extractor(shape):
    with pytest.raises(NotApplicableError, match="no feature extractor"):
        extractor_for(Shown(shape), shape)


def test_scenes_have_their_own_extractor_unless_weights_are_given(tmp_path):
    images, model = random_scenes(5, torch.Generator().manual_seed(0)).images, scenes()
    extractor = extractor_for(model, (3, 32, 32))
    torch.testing.assert_close(
        extractor.features(to_uint8(images)), scene_classifier().features(images), atol=0.05, rtol=0.05
    )
    with pytest.raises(UsageError, match="no Inception-v3 weights file"):
        extractor_for(model, (3, 32, 32), str(tmp_path / "absent.pth"))


class Directions(SampleFeatures):
    """Points, or sounds cut to two values, seen as directions."""

    name = "directions"
    width = 2

    def of_samples(self, samples):
        assert samples.dtype == torch.float32
        return normalize(samples[:, :2])

    def fingerprint(self):
        return "of directions"


@pytest.fixture(scope="module")
def points() -> torch.Tensor:
    return 3.0 * torch.randn(400, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("metric", [fid, kid, precision])
def test_a_model_may_bring_features_of_anything(metric, points):
    model = Shown(features=Directions(), data=points[200:])
    # Longer vectors have the same directions, and nothing is cut to the range of images.
    made, longer = points[:200] + 0.5, 2.0 * (points[:200] + 0.5)
    first, second = (metric(minimum=4)(SampleSet(part, points[:200], None, 2.0, model)) for part in (made, longer))
    assert first.info["extractor"] == "of directions"
    assert first.details["width"] == 2
    assert first.value == pytest.approx(second.value, rel=1e-5, abs=1e-6)
    assert first.value != first.details["truth"]


def test_files_hold_images_and_no_other_samples(points, tmp_path):
    samples = SampleSet(points, points, None, 2.0, Shown((2,), Directions()))
    with pytest.raises(NotApplicableError, match=r"files are images, and the model's are of shape \(2,\)"):
        fid(minimum=4, data=str(tmp_path))(samples)


def test_features_of_sound_are_compared_by_distances_of_sound(points):
    sounds = torch.nn.functional.pad(points.float(), (0, 62))
    samples = SampleSet(sounds, sounds.roll(1, 0), None, 2.0, Shown((64,), Directions(), rate=16_000))
    assert fad_gt(minimum=4)(samples).value == pytest.approx(0.0, abs=1e-6)
    with pytest.raises(NotApplicableError, match="compare them by fad or fad-gt"):
        fid(minimum=4)(samples)
