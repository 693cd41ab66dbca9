from __future__ import annotations

import pytest
import torch

from bnsbench.models.recipe import seeded
from bnsbench.models.scenes.data import ATTRIBUTES, caption_tokens, random_scenes
from bnsbench.models.scenes.network import SceneClassifier, ScenesNetwork


@pytest.fixture(scope="module")
def network() -> ScenesNetwork:
    """A small network whose last layer is not zero."""
    made = seeded(lambda: ScenesNetwork(channels=16, width=16, blocks=2, heads=2))
    torch.nn.init.normal_(made.outlet.weight, std=0.1, generator=torch.Generator().manual_seed(0))
    return made.eval().requires_grad_(False)


def batch(count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    clock = 2 * torch.rand(count, generator=generator) - 1
    return clock, torch.randn(count, 3, 32, 32, generator=generator), caption_tokens(torch.arange(count))


def test_a_fresh_network_predicts_nothing():
    assert seeded(lambda: ScenesNetwork(channels=16, width=16, blocks=1, heads=2))(*batch(2)).abs().max() == 0


def test_samples_do_not_see_each_other(network):
    clock, x, tokens = batch(4)
    alone = torch.cat([network(clock[i : i + 1], x[i : i + 1], tokens[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(network(clock, x, tokens), alone, rtol=1e-4, atol=1e-5)


def test_one_time_for_all_is_that_time_for_each(network):
    _, x, tokens = batch(3)
    torch.testing.assert_close(network(torch.tensor(0.3), x, tokens), network(torch.full((3,), 0.3), x, tokens))


def test_words_and_their_order_matter(network):
    clock, x, _ = batch(1)
    tokens = caption_tokens(torch.tensor([1]))
    swapped = tokens[:, [3, 4, 2, 0, 1]]
    empty = torch.zeros_like(tokens)
    said = [network(clock, x, one) for one in (tokens, swapped, empty)]
    assert torch.equal(said[0], network(clock, x, tokens))
    assert min((said[a] - said[b]).abs().max() for a, b in ((0, 1), (0, 2), (1, 2))) > 1e-4


def test_the_classifier_reads_each_attribute():
    classifier = seeded(SceneClassifier).eval()
    images = random_scenes(5, torch.Generator().manual_seed(0)).images
    features = classifier.features(images)
    torch.testing.assert_close(features.mean(1), torch.zeros(5), atol=1e-5, rtol=0)
    assert [tuple(one.shape) for one in classifier(images)] == [(5, count) for count in ATTRIBUTES.values()]
    assert torch.equal(classifier.read(images)[:, 2], classifier(images)[2].argmax(1))
    assert [tuple(one.shape[1:]) for one in classifier.activations(images)] == [
        (32, 32, 32),
        (48, 16, 16),
        (64, 8, 8),
        (64, 4, 4),
    ]
