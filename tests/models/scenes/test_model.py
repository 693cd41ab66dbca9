from __future__ import annotations

import pytest
import torch

from bnsbench.errors import UsageError
from bnsbench.models.recipe import seeded
from bnsbench.models.scenes.data import captions
from bnsbench.models.scenes.model import ScenesModel, scenes
from bnsbench.models.scenes.network import ScenesNetwork


def untrained() -> ScenesNetwork:
    """A small network whose last layer is not zero."""
    made = ScenesNetwork(channels=16, width=16, blocks=2, heads=2)
    torch.nn.init.normal_(made.outlet.weight, std=0.1)
    return made


@pytest.fixture
def model() -> ScenesModel:
    return ScenesModel(seeded(untrained), "0")


def noise(count: int, model: ScenesModel) -> torch.Tensor:
    return torch.randn(count, *model.shape, generator=torch.Generator().manual_seed(0))


def test_samples_have_a_caption_each_and_neighbours_differ(model):
    condition = model.conditions(torch.arange(100))
    assert len(set(captions(condition))) == 100
    assert torch.equal(condition[5:7], model.conditions(torch.tensor([5, 6])))
    assert min((condition[i] != condition[i + 1]).sum() for i in range(99)) >= 2


def test_guidance_leaves_out_the_caption(model):
    condition = model.conditions(torch.arange(3))
    x, t = noise(3, model), torch.tensor(0.3)
    with_caption, without = model.predict(t, x, condition), model.predict(t, x, None)
    assert (with_caption - without).abs().max() > 1e-5
    torch.testing.assert_close(model.guided(t, x, condition, 2.0), 3 * with_caption - 2 * without, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(model.predict(t, x, model.null_condition(condition)), without)


def test_scenes_are_asked_for_in_words(model):
    condition = model.describe("a red circle left of a blue square")
    assert model.texts(condition[None]) == captions(condition[None]) == ["a red circle left of a blue square"]
    with pytest.raises(UsageError, match="do not know the word 'dog'"):
        model.describe("a red dog left of a blue square")


def test_the_reference_are_scenes_of_the_renderer(model):
    reference = model.reference()
    assert reference.samples.shape == (4096, *model.shape)
    assert reference.samples.abs().max() <= 1


def test_the_shipped_network_takes_noise_away():
    shipped = scenes()
    images = shipped.reference().samples[:16]
    t = torch.tensor(0.9)
    x = 0.9 * images + 0.1 * noise(16, shipped)
    with torch.no_grad():
        data = x + 0.1 * shipped.predict(t, x, None)
    assert (data - images).square().mean() < 0.3 * (x / 0.9 - images).square().mean()
