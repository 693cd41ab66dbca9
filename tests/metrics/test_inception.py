"""Inception-v3 from a local file, here with random weights: the same numbers as torch-fidelity's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from bnsbench.metrics.distribution import kid
from bnsbench.metrics.extractors import INCEPTION, extractor_for
from bnsbench.metrics.inception_score import InceptionScore
from bnsbench.models.scenes.data import random_scenes
from bnsbench.models.textures import textures
from bnsbench.process.random_states import random_states
from tests.metrics.fidelity import fidelity


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A weights file for torch-fidelity; it goes with the tests, for it is large."""
    file = tmp_path_factory.mktemp("weights") / "inception.pth"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        patch.setattr(torch, "load", lambda *_, **__: None)
        torch.manual_seed(0)
        network = FeatureExtractorInceptionV3(INCEPTION, ["2048"], feature_extractor_weights_path="none")
    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear):
            torch.nn.init.kaiming_normal_(layer.weight)  # the usual start lets the image fade away in so many layers
    torch.save(network.state_dict(), file)
    yield file
    file.unlink()


def test_it_gives_torch_fidelity_s_numbers(weights, sample_set, tmp_path):
    made, real = (random_scenes(6, torch.Generator().manual_seed(seed)).images * (0.2 + 0.4 * seed) for seed in range(2))
    levels = ((real + 1) * 127.5).round().to(torch.uint8)
    np.savez(tmp_path / "real.npz", arr_0=levels.permute(0, 2, 3, 1).numpy())
    settings = {"kid": True, "kid_subset_size": 6, "isc": True, "isc_splits": 2}
    expected = fidelity(made, real, feature_extractor_weights_path=str(weights), **settings)
    samples = sample_set(made, made)
    before = random_states()
    distance = kid(str(weights), minimum=6, data=str(tmp_path / "real.npz"))(samples)
    score = InceptionScore(str(weights), minimum=6, splits=2)(samples)
    assert random_states() == before
    assert distance.value > 0.01
    assert distance.value == pytest.approx(expected["kernel_inception_distance_mean"], rel=1e-3)
    assert score.value - 1 == pytest.approx(expected["inception_score_mean"] - 1, rel=1e-3)
    assert (distance.details["width"], score.details["classes"]) == (2048, 1008)
    assert extractor_for(textures(), (3, 32, 32), str(weights)).fingerprint == distance.info["extractor"]
