from __future__ import annotations

import pytest
import torch

from bnsbench.models.fashion.network import FashionClassifier, FashionNetwork
from bnsbench.models.recipe import seeded


def small() -> FashionNetwork:
    return FashionNetwork(channels=(8, 16, 16), blocks=(1, 1, 1), embedding=16, heads=2)


@pytest.fixture(scope="module")
def network() -> FashionNetwork:
    """A small network whose last layers are not zero, in float64."""

    def make() -> FashionNetwork:
        made = small()
        for parameter in made.parameters():
            if not parameter.any():
                torch.nn.init.normal_(parameter, std=0.1)
        return made

    return seeded(make).double().eval().requires_grad_(False)


def batch(count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    clock = 2 * torch.rand(count, generator=generator, dtype=torch.float64) - 1
    x = torch.randn(count, 1, 28, 28, generator=generator, dtype=torch.float64)
    return clock, x, torch.arange(count) % 11


def test_a_fresh_network_predicts_nothing():
    clock, x, labels = batch(2)
    assert seeded(small)(clock.float(), x.float(), labels).abs().max() == 0


def test_pictures_do_not_see_each_other(network):
    clock, x, labels = batch(4)
    alone = torch.cat([network(clock[i : i + 1], x[i : i + 1], labels[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(network(clock, x, labels), alone, rtol=1e-10, atol=1e-10)


def test_one_time_for_all_is_that_time_for_each(network):
    _, x, labels = batch(3)
    clock = torch.tensor(0.3, dtype=torch.float64)
    torch.testing.assert_close(network(clock, x, labels), network(clock.expand(3), x, labels))


def test_every_place_sees_every_other(network):
    """Attention carries from one corner to the other what convolutions of this small network do not reach."""
    clock, x, labels = batch(1)
    changed = x.clone()
    changed[..., 0, 0] += 1
    difference = (network(clock, changed, labels) - network(clock, x, labels)).abs()
    assert difference[..., -1, -1].min() > 1e-9


def test_prediction_depends_on_clock_and_class(network):
    clock, x, labels = batch(1)
    base = network(clock, x, labels)
    assert (network(clock + 0.5, x, labels) - base).abs().max() > 1e-3
    assert (network(clock, x, labels + 3) - base).abs().max() > 1e-3


def test_shipped_sizes_stay_small():
    """Half-precision files of at most 4 MB a generator, and 0.5 MB the classifier."""
    assert sum(parameter.numel() for parameter in FashionNetwork().parameters()) * 2 <= 4e6
    assert sum(parameter.numel() for parameter in FashionClassifier().parameters()) * 2 <= 0.5e6


def test_mixed_precision_stays_near_full(network):
    clock, x, labels = (value.float() if value.is_floating_point() else value for value in batch(3))
    single = seeded(small)
    single.load_state_dict(network.state_dict())
    full = single(clock, x, labels)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = single(clock, x, labels)
    assert mixed.dtype == torch.float32
    assert 0 < (mixed - full).detach().abs().max() < 0.05 * full.detach().abs().max()


def test_classifier_features_are_normalised():
    images = torch.rand(7, 1, 28, 28, generator=torch.Generator().manual_seed(0)) * 2 - 1
    classifier = seeded(FashionClassifier)
    features = classifier.features(images).detach()
    assert classifier(images).shape == (7, 10)
    assert features.shape == (7, FashionClassifier.width)
    torch.testing.assert_close(features.mean(dim=1), torch.zeros(7), atol=1e-5, rtol=0)
    torch.testing.assert_close(features.var(dim=1, correction=0), torch.ones(7), atol=2e-2, rtol=0)
    assert [found.shape[-1] for found in classifier.activations(images)] == [28, 14, 14, 7, 4]
