from __future__ import annotations

import pytest
import torch

from bnsbench.contract import PluginHost
from bnsbench.flows.features import SampleFeatures
from bnsbench.training.trainer import features_of
from tests.metrics.shown import Shown


@pytest.mark.parametrize("name", ["digits-ot", "digits-gmm", "scenes", "speech"])
def test_features_can_be_trained_for(name: str) -> None:
    model = PluginHost.load().model(name).make()
    features = features_of(model)
    assert features is not None
    states = (0.3 * torch.randn(2, *model.shape, generator=torch.Generator().manual_seed(0))).requires_grad_()
    found = features(states)
    (slope,) = torch.autograd.grad(found[:, 0].sum(), states)
    with torch.no_grad():
        step = 1e-3 * slope / slope.norm()
        moved = (features(states + step) - features(states - step))[:, 0].sum() / 2e-3
    assert float(moved) == pytest.approx(float(slope.norm()), rel=0.02)


@pytest.mark.parametrize("name", ["ring8", "textures"])
def test_models_without_features_have_none_to_train_for(name: str) -> None:
    assert features_of(PluginHost.load().model(name).make()) is None


class Loudness(SampleFeatures):
    name, width = "loudness", 1

    def of_samples(self, samples: torch.Tensor) -> torch.Tensor:
        assert samples.ndim == 2
        assert samples.dtype == torch.float32
        return samples.square().sum(dim=1, keepdim=True)

    def fingerprint(self) -> str:
        return "loudness"


def test_channels_of_sound_are_averaged_for_features() -> None:
    features = features_of(Shown((2, 5), Loudness(), rate=16_000))
    assert features is not None
    stereo = torch.tensor([[[1.0, 2.0, 0.0, 0.0, 3.0], [1.0, 0.0, 0.0, 4.0, -3.0]]], dtype=torch.float64)
    assert features(stereo).tolist() == [[1.0 + 1.0 + 4.0]]
