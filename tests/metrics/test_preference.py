from __future__ import annotations

import pytest
import torch
from scipy.special import expit, log_softmax

from bnsbench.errors import DivergedError, NotApplicableError
from bnsbench.flows.judge import ConditionJudge
from bnsbench.metrics.preference import Preference
from bnsbench.models.digits.features import digit_classifier
from bnsbench.models.scenes.data import attributes, random_scenes
from bnsbench.models.scenes.features import scene_classifier
from bnsbench.models.scenes.judge import scene_judge
from bnsbench.models.speech.judge import speech_judge
from tests.metrics.shown import Shown


class Mean(ConditionJudge):
    """Thinks that p(condition | sample) is the exponential of the sample's mean."""

    asks = "class"

    def found(self, shown, condition):
        return shown.flatten(1).mean(1, keepdim=True) > 0

    def log_likelihood(self, shown, condition):
        return shown.flatten(1).mean(1)

    def fingerprint(self):
        return "0"


def pictures(*means):
    """Return pictures that vary around these means."""
    ripple = torch.tensor([[0.1, -0.1], [-0.1, 0.1]])
    return torch.stack([ripple + mean for mean in means])[:, None]


def test_preference_is_that_of_bradley_and_terry(sample_set):
    """p = 1 / (1 + exp(s_truth - s)), for scores that differ by 0, 1 and -2."""
    own, truth = pictures(0.5, 1.0, -1.0), pictures(0.5, 0.0, 1.0)
    found = Preference()(sample_set(own, truth, condition=torch.zeros(3), model=Shown((1, 2, 2), judge=Mean())))
    assert found.per_sample == pytest.approx([0.5, 1 / (1 + torch.e**-1), 1 / (1 + torch.e**2)])
    assert found.per_sample is not None
    assert found.value == pytest.approx(sum(found.per_sample) / 3)
    assert found.details["truth"] == 0.5


def test_flat_samples_are_never_preferred(sample_set):
    own, truth = pictures(0.0, 0.0), pictures(0.0, 0.0)
    own[1] = 5.0
    found = Preference()(sample_set(own, truth, condition=torch.zeros(2), model=Shown((1, 2, 2), judge=Mean())))
    assert found.per_sample == pytest.approx([0.5, 0.0])


def test_digits_are_read_by_their_classifier(sample_set, images):
    samples, labels = images.samples[:64], images.labels[:64]
    noisy = samples + 0.7 * torch.randn(64, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    own, truth = (
        log_softmax(digit_classifier()(each.clamp(-1, 1)).numpy().astype("float64"), axis=1)[range(64), labels]
        for each in (noisy, samples)
    )
    found = Preference()(sample_set(noisy, samples, condition=labels))
    assert found.value == pytest.approx(expit(own - truth).mean(), abs=1e-5)
    assert 0.05 < found.value < 0.45
    assert Preference()(sample_set(samples, samples, condition=labels)).value == pytest.approx(0.5)


def test_captions_are_read_by_their_parts(sample_set):
    """The likelihood of a caption is the product of its five attributes' own."""
    images, tokens = random_scenes(16, torch.Generator().manual_seed(0))
    wanted = attributes(tokens)
    with torch.no_grad():
        logits = scene_classifier()(images)
    expected = sum(log_softmax(part.numpy(), axis=1)[range(16), wanted[:, k]] for k, part in enumerate(logits))
    with torch.no_grad():
        told = scene_judge().log_likelihood(images, tokens)
    torch.testing.assert_close(told, torch.as_tensor(expected), atol=1e-4, rtol=1e-4)
    assert float(told.mean()) > -0.1  # scenes that were drawn for their captions


def test_what_preference_needs(sample_set, images):
    chosen = images.samples[:4]
    with pytest.raises(NotApplicableError, match="all conditioned"):
        Preference()(sample_set(chosen, chosen))
    with pytest.raises(NotApplicableError, match="Shown brings none"):
        Preference()(sample_set(chosen, chosen, condition=images.labels[:4], model=Shown((1, 8, 8))))
    with pytest.raises(NotApplicableError, match="SpeechJudge tells no likelihood"):
        Preference()(sample_set(chosen, chosen, condition=images.labels[:4], model=Shown((1, 8, 8), judge=speech_judge())))
    with pytest.raises(DivergedError):
        Preference()(sample_set(chosen * torch.nan, chosen, condition=images.labels[:4]))
