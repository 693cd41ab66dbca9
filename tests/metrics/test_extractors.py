from __future__ import annotations

import pytest
import torch
from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

from bnsbench.errors import NotApplicableError, UsageError
from bnsbench.metrics.extractors import DIGITS, DigitsExtractor, extractor_for, register_embedded, to_uint8
from bnsbench.models.digits.model import digit_classifier


def test_uint8_rule_clamps_and_rounds():
    values = torch.tensor([-2.0, -1.0, -0.999, 0.0, 0.5, 1.0, 3.0])
    assert to_uint8(values).tolist() == [0, 0, 0, 128, 191, 255, 255]


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
