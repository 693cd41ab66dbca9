from __future__ import annotations

import pytest
import torch

from bnsbench.models.digits.network import DigitClassifier, ResidualMLP


@pytest.fixture
def network() -> ResidualMLP:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = ResidualMLP(6, 3, width=16, blocks=2, embedding=8)
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    return network.double()


def test_common_time_equals_the_same_time_given_per_sample(network):
    x = torch.randn(5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 1, 2, 3, 1])
    clock = torch.tensor(0.3, dtype=torch.float64)
    torch.testing.assert_close(network(clock, x, labels), network(clock.expand(5), x, labels), rtol=1e-12, atol=1e-12)


def test_rows_do_not_depend_on_their_batch(network):
    x = torch.randn(5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    labels, clock = torch.tensor([0, 1, 2, 3, 1]), torch.linspace(-1, 1, 5, dtype=torch.float64)
    together = network(clock, x, labels)
    apart = torch.cat([network(clock[k : k + 1], x[k : k + 1], labels[k : k + 1]) for k in range(5)])
    torch.testing.assert_close(together, apart, rtol=1e-12, atol=1e-12)


def test_prediction_depends_on_clock_and_class(network):
    x = torch.ones(1, 6, dtype=torch.float64)
    base = network(torch.zeros((), dtype=torch.float64), x, torch.tensor([0]))
    assert (network(torch.ones((), dtype=torch.float64), x, torch.tensor([0])) - base).abs().max() > 1e-3
    assert (network(torch.zeros((), dtype=torch.float64), x, torch.tensor([3])) - base).abs().max() > 1e-3


def test_derivative_in_time_is_exact(network):
    x = torch.randn(3, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    labels = torch.tensor([0, 1, 3])
    clock = torch.tensor(0.2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda c: network(c, x, labels), clock)


def test_fresh_network_predicts_zero():
    x = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    fresh = ResidualMLP(6, 3, width=16, blocks=2, embedding=8)
    # Only the skip path's small random weights are left.
    assert fresh(torch.tensor(0.5), x, torch.tensor([0, 1, 2, 3])).abs().max() < 0.5 * x.abs().max()


def test_classifier_features_are_normalised():
    images = torch.rand(7, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    features = DigitClassifier()(images), DigitClassifier().features(images)
    assert features[0].shape == (7, 10)
    assert features[1].shape == (7, DigitClassifier.width)
    torch.testing.assert_close(features[1].mean(dim=1), torch.zeros(7), atol=1e-5, rtol=0)
    torch.testing.assert_close(features[1].var(dim=1, correction=0), torch.ones(7), atol=2e-2, rtol=0)
