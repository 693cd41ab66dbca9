from __future__ import annotations

import pytest
import torch
from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

from bnsbench.errors import NotApplicableError, UsageError
from bnsbench.flows.model import Model
from bnsbench.flows.paths import CondOT
from bnsbench.metrics.extractors import (
    DIGITS,
    DigitsExtractor,
    differentiable_features,
    extractor_for,
    register_embedded,
    to_uint8,
)
from bnsbench.models.digits.features import digit_classifier
from bnsbench.models.scenes.data import random_scenes
from bnsbench.models.scenes.features import scene_classifier


def test_uint8_rule_clamps_and_rounds():
    values = torch.tensor([-2.0, -1.0, -0.999, 0.0, 0.5, 1.0, 3.0])
    assert to_uint8(values).tolist() == [0, 0, 0, 128, 191, 255, 255]


def test_half_precision_is_rounded_once():
    levels = torch.arange(256)
    values = (levels / 127.5 - 1).to(torch.bfloat16)
    expected = ((values.double() + 1) * 127.5).round()
    assert to_uint8(values).tolist() == expected.tolist()


def test_registration_is_repeatable():
    register_embedded()
    register_embedded()
    assert FEATURE_EXTRACTORS_REGISTRY[DIGITS] is DigitsExtractor


def test_digit_features_are_the_classifier_s(images):
    levels = to_uint8(images.samples[:300])
    extractor = extractor_for((1, 8, 8))
    features = extractor.features(levels)
    assert features.shape == (300, extractor.width)
    torch.testing.assert_close(features, digit_classifier().features(levels.float() / 127.5 - 1), rtol=1e-4, atol=1e-5)


def test_colour_copies_of_grey_digits_have_the_same_features(images):
    network = DigitsExtractor(DIGITS, ["features", "logits"])
    grey = to_uint8(images.samples[:10])
    for one, three in zip(network(grey), network(grey.expand(-1, 3, -1, -1)), strict=True):
        torch.testing.assert_close(one, three, rtol=1e-4, atol=1e-5)


def test_batches_do_not_change_features(images):
    levels = to_uint8(images.samples[:600])
    extractor = extractor_for((1, 8, 8))
    parts = torch.cat([extractor.features(part) for part in levels.split(7)])
    torch.testing.assert_close(parts, extractor.features(levels), rtol=1e-4, atol=1e-5)


def test_rgb_images_need_a_local_weights_file(tmp_path):
    with pytest.raises(NotApplicableError, match="give weights=PATH"):
        extractor_for((3, 32, 32))
    with pytest.raises(UsageError, match=r"no Inception-v3 weights file .*absent\.pth"):
        extractor_for((3, 32, 32), str(tmp_path / "absent.pth"))


@pytest.mark.parametrize("shape", [(2,), (1, 28, 28), (64, 64)])
def test_other_samples_have_no_extractor(shape):
    with pytest.raises(NotApplicableError, match="no feature extractor"):
        extractor_for(shape)


class Kind(Model):
    """A model of which only what it generates matters."""

    path = CondOT()

    def __init__(self, extractor: str, shape: tuple[int, ...]) -> None:
        self.extractor, self.shape = extractor, shape

    def predict(self, t, x, condition):
        return x

    def fingerprint(self):
        return "0"


@pytest.mark.parametrize(("kind", "shape"), [("digits", (1, 8, 8)), ("scenes", (3, 32, 32)), ("speech", (64, 64))])
def test_features_can_be_trained_for(kind, shape):
    features = differentiable_features(Kind(kind, shape))
    states = (0.3 * torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))).requires_grad_()
    found = features(states)
    (slope,) = torch.autograd.grad(found[:, 0].sum(), states)
    with torch.no_grad():
        step = 1e-3 * slope / slope.norm()
        moved = (features(states + step) - features(states - step))[:, 0].sum() / 2e-3
    assert float(moved) == pytest.approx(float(slope.norm()), rel=0.02)


def test_other_data_have_no_features_to_train_for():
    assert differentiable_features(Kind("", (3, 32, 32))) is None


def test_scenes_have_their_own_extractor_unless_weights_are_given(tmp_path):
    images = random_scenes(5, torch.Generator().manual_seed(0)).images
    extractor = extractor_for((3, 32, 32), kind="scenes")
    torch.testing.assert_close(
        extractor.features(to_uint8(images)), scene_classifier().features(images), atol=0.05, rtol=0.05
    )
    with pytest.raises(UsageError, match="no Inception-v3 weights file"):
        extractor_for((3, 32, 32), str(tmp_path / "absent.pth"), kind="scenes")
