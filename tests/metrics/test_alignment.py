from __future__ import annotations

import pytest
import torch
from sklearn.metrics import accuracy_score

from bnsbench.errors import DivergedError, NotApplicableError
from bnsbench.flows.judge import ConditionJudge
from bnsbench.metrics.alignment import AttributeAlignment, ClassAccuracy, WordAccuracy
from bnsbench.models.digits.features import digit_classifier
from bnsbench.models.scenes.data import attributes, random_scenes
from bnsbench.models.scenes.judge import scene_judge
from bnsbench.models.speech.data import spoken
from bnsbench.models.speech.judge import speech_judge
from bnsbench.models.speech.model import reference_clips
from tests.metrics.shown import Shown


def test_accuracy_agrees_with_scikit_learn(sample_set, images):
    noisy = images.samples[:400] + torch.randn(400, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    result = ClassAccuracy()(sample_set(noisy, images.samples[:400], condition=images.labels[:400]))
    predicted = digit_classifier()(noisy.clamp(-1, 1)).argmax(1)
    expected = accuracy_score(images.labels[:400].numpy(), predicted.numpy())
    assert 0.2 < expected < 0.99
    assert result.value == pytest.approx(expected)
    assert result.low is not None
    assert result.high is not None
    assert result.low < expected < result.high
    assert result.per_sample is not None
    assert sum(result.per_sample) == pytest.approx(400 * expected)
    assert result.details["truth"] > 0.98


def test_wrong_conditions_score_zero(sample_set, images):
    wrong = (images.labels[:50] + 1) % 10
    result = ClassAccuracy()(sample_set(images.samples[:50], images.samples[:50], condition=wrong))
    assert result.value < 0.05


def test_batches_average_to_the_whole(sample_set, images):
    noisy = images.samples[:90] + torch.randn(90, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    labels = images.labels[:90]
    whole = ClassAccuracy()(sample_set(noisy, noisy, condition=labels)).value
    parts = [
        ClassAccuracy()(sample_set(noisy[k : k + 30], noisy[k : k + 30], condition=labels[k : k + 30])) for k in (0, 30, 60)
    ]
    assert sum(part.value for part in parts) / 3 == pytest.approx(whole)


def test_unconditional_or_other_samples_are_not_applicable(sample_set, images):
    chosen = images.samples[:5]
    with pytest.raises(NotApplicableError, match="that are all conditioned"):
        ClassAccuracy()(sample_set(chosen, chosen))
    with pytest.raises(NotApplicableError, match="conditioned on a class"):
        ClassAccuracy()(sample_set(chosen, chosen, condition=torch.tensor([0, 1, 2, 10, 4])))
    with pytest.raises(
        NotApplicableError, match="AttributeAlignment needs a judge of a caption, and DigitsModel brings one of a class"
    ):
        AttributeAlignment()(sample_set(chosen, chosen, condition=torch.zeros(5, 5)))
    with pytest.raises(
        NotApplicableError, match="WordAccuracy needs a judge of a word, and DigitsModel brings one of a class"
    ):
        WordAccuracy()(sample_set(chosen, chosen, condition=torch.zeros(5, 13)))
    with pytest.raises(NotApplicableError, match="needs a judge of a class, and Shown brings none"):
        ClassAccuracy()(sample_set(chosen, chosen, condition=torch.zeros(5), model=Shown((1, 8, 8))))


def test_diverged_samples_raise(sample_set, images):
    broken = images.samples[:5].clone()
    broken[2] = torch.inf
    with pytest.raises(DivergedError, match="1 of 5"):
        ClassAccuracy()(sample_set(broken, images.samples[:5], condition=images.labels[:5]))


def test_drawn_scenes_are_as_their_captions_say(sample_set):
    images, tokens = random_scenes(300, torch.Generator().manual_seed(5))
    said = {"condition": tokens, "model": Shown(judge=scene_judge())}
    result = AttributeAlignment()(sample_set(images, images, **said))
    assert result.value > 0.99
    assert result.details["layout"] == 1.0
    swapped = sample_set(images.flip(3), images, **said)
    beside = attributes(tokens)[:, 0] == 0
    same = (attributes(tokens)[:, 1:3] == attributes(tokens)[:, 3:]).all(1)
    # Mirrored, objects beside each other change places; those above each other do not.
    assert AttributeAlignment()(swapped).value == pytest.approx(float((~beside | same).double().mean()), abs=0.02)
    assert AttributeAlignment()(swapped).details["truth"] == result.value


def test_recorded_words_are_recognised(sample_set):
    clips = reference_clips()
    asked = spoken(clips.words, clips.voices)
    said = {"condition": asked, "model": Shown(judge=speech_judge())}
    same = WordAccuracy()(sample_set(clips.latents, clips.latents, **said))
    assert same.value > 0.95
    others = WordAccuracy()(sample_set(clips.latents.roll(1, 0), clips.latents, **said))
    assert others.value < 0.1


def test_nothing_is_found_in_samples_without_variation(sample_set, images):
    flat = torch.full((60, 1, 8, 8), 0.2)
    guess = digit_classifier()(flat).argmax(1)
    found = ClassAccuracy()(sample_set(flat, flat, condition=guess))
    assert (found.value, found.details["truth"]) == (0, 0)
    white = images.samples[:60] + 9.0
    assert ClassAccuracy()(sample_set(white, white, condition=digit_classifier()(white.clamp(-1, 1)).argmax(1))).value == 0


class Signs(ConditionJudge):
    """Finds whether two numbers have the signs that the condition asks for, after doubling them."""

    asks = "caption"
    parts = ("first", "second")

    def shown(self, states):
        return 2.0 * states

    def found(self, shown, condition):
        assert bool((shown.abs() > 0.5).all())
        return shown.sign() == condition

    def fingerprint(self):
        return "signs"


def test_a_model_may_bring_its_own_judge(sample_set):
    states = torch.tensor([[0.3, -0.4], [0.5, 0.3], [-0.4, 0.3], [0.4, 0.4]])
    asked = torch.tensor([[1, -1], [1, -1], [-1, 1], [1, 1]])
    found = AttributeAlignment()(sample_set(states, states.flip(1), condition=asked, model=Shown((2,), judge=Signs())))
    # The last shows nothing: its numbers are equal.
    assert found.per_sample == [1.0, 0.0, 1.0, 0.0]
    assert found.details == {"n": 4.0, "truth": 0.0, "first": 0.75, "second": 0.5}
    assert found.info == {"classifier": "signs"}
