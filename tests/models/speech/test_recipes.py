from __future__ import annotations

import pytest
import torch

from bnsbench.models.learning import Learner
from bnsbench.models.recipe import seeded
from bnsbench.models.speech.corpus import Clips
from bnsbench.models.speech.model import reference_clips
from bnsbench.models.speech.network import SpeechNetwork
from bnsbench.models.speech.recipes import classifier_learner, generator_learner, velocity_loss


def test_loss_of_the_zero_network_is_the_target_s_power():
    # The latents of white data have unit power, so E|x_1 - x_0|^2 = 2.
    white = Clips(
        torch.randn(200, 64, 64, generator=torch.Generator().manual_seed(0)),
        torch.zeros(200, dtype=torch.int64),
        torch.zeros(200, dtype=torch.int64),
        torch.full((200,), 40),
    )
    network = seeded(lambda: SpeechNetwork(width=16, blocks=1, heads=2))
    loss = velocity_loss(network, torch.Generator().manual_seed(1), clips=white)
    assert float(loss.detach()) == pytest.approx(2.0, rel=0.03)


@pytest.mark.parametrize("make", [generator_learner, classifier_learner])
def test_learners_learn_and_repeat(make):
    first, second = (make(reference_clips(), 400) for _ in range(2))
    before = error(first)
    for learner in (first, second):
        learner.done = 50  # past the very first steps of the warm-up
    assert [first.step() for _ in range(8)] == [second.step() for _ in range(8)]
    assert error(first) < 0.98 * before


def error(learner: Learner) -> float:
    """The loss on one fixed batch."""
    return float(learner.loss(learner.network, torch.Generator().manual_seed(9)).detach())
