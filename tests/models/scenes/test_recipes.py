from __future__ import annotations

import math

import pytest
import torch

from bnsbench.models.recipe import seeded
from bnsbench.models.scenes.data import ATTRIBUTES, random_scenes
from bnsbench.models.scenes.network import SceneClassifier, ScenesNetwork
from bnsbench.models.scenes.recipes import attribute_loss, generator_learner, reading_loss, velocity_loss


def test_loss_of_the_zero_network_is_the_target_s_power():
    network = seeded(lambda: ScenesNetwork(channels=8, width=16, blocks=1, heads=2))
    images, tokens = random_scenes(64, torch.Generator().manual_seed(0))
    loss = velocity_loss(network, images, tokens, torch.Generator().manual_seed(1))
    assert float(loss.detach()) == pytest.approx(1.0 + float(images.square().mean()), rel=0.02)


def test_loss_of_a_reader_that_knows_nothing_is_the_attributes_entropy():
    blind = [torch.zeros(10, values) for values in ATTRIBUTES.values()]
    expected = sum(math.log(values) for values in ATTRIBUTES.values()) / len(ATTRIBUTES)
    assert float(attribute_loss(blind, torch.zeros(10, 5, dtype=torch.int64))) == pytest.approx(expected)
    classifier = seeded(SceneClassifier)
    assert float(reading_loss(classifier, torch.Generator().manual_seed(0)).detach()) > expected


def test_the_generator_learns_to_read_and_to_draw():
    learner = generator_learner(400)
    learner.done = 50  # past the very first steps of the warm-up
    before = float(learner.loss(learner.network, torch.Generator().manual_seed(9)).detach())
    for _ in range(3):
        learner.step()
    assert float(learner.loss(learner.network, torch.Generator().manual_seed(9)).detach()) < before
    # The loss reaches every parameter, the reader's among them.
    assert all(parameter.grad is not None for parameter in learner.network.parameters())
