from __future__ import annotations

import pytest
import torch

from bnsbench.errors import NotApplicableError, UsageError
from bnsbench.models.digits.model import digits
from bnsbench.models.recipe import seeded
from bnsbench.models.speech.audio import SAMPLES
from bnsbench.models.speech.data import CLIP, END, NO_CLIP, START, VOICE, VOICES, WORDS, asked, filled
from bnsbench.models.speech.model import SpeechModel, reference_clips
from bnsbench.models.speech.network import SpeechNetwork

CLIPS = reference_clips()


def untrained() -> SpeechNetwork:
    """A small network whose last layer is not zero."""
    made = SpeechNetwork(width=16, blocks=2, heads=2)
    torch.nn.init.normal_(made.outlet.weight, std=0.1)
    return made


@pytest.fixture(params=["synthesis", "infill"])
def model(request) -> SpeechModel:
    return SpeechModel(seeded(untrained), CLIPS, request.param, "0")


def test_conditions_go_through_all_words_and_voices():
    model = SpeechModel(seeded(untrained), CLIPS, "synthesis", "0")
    condition = model.conditions(torch.arange(len(WORDS) * len(VOICES)))
    pairs = set(zip(asked(condition), condition[:, VOICE].tolist(), strict=True))
    assert len(pairs) == len(WORDS) * len(VOICES)
    assert len(set(asked(condition[:24]))) > 20
    assert (condition[:, CLIP] == NO_CLIP).all()
    assert torch.equal(condition[5:7], model.conditions(torch.tensor([5, 6])))


def test_infilling_makes_up_half_of_each_word():
    model = SpeechModel(seeded(untrained), CLIPS, "infill", "0")
    condition = model.conditions(torch.arange(2 * len(CLIPS.words)))
    rows = condition[:, CLIP]
    assert torch.equal(rows, torch.arange(len(CLIPS.words)).repeat(2))
    assert asked(condition[:48]) == [WORDS[word] for word in CLIPS.words.tolist()]
    share = (condition[:, END] - condition[:, START]) / (CLIPS.ends[rows] - 4)
    assert ((share - 0.5).abs() < 0.06).all()
    assert (condition[:, END] <= CLIPS.ends[rows]).all()
    assert (condition[:48, START] != condition[48:, START]).float().mean() > 0.9


def test_only_given_frames_of_the_clip_are_seen():
    model = SpeechModel(seeded(untrained), CLIPS, "infill", "0")
    condition = model.conditions(torch.arange(1))
    x, t = torch.zeros(1, *model.shape), torch.tensor(0.5)
    before = model.predict(t, x, condition)
    inside, outside = (CLIPS.latents.clone() for _ in range(2))
    inside[:1].masked_fill_(filled(condition)[:, None], 7.0)
    outside[:1].masked_fill_(~filled(condition)[:, None], 7.0)
    changed = [
        SpeechModel(model.network, CLIPS._replace(latents=latents), "infill", "0").predict(t, x, condition)
        for latents in (inside, outside)
    ]
    assert torch.equal(changed[0], before)
    assert (changed[1] - before).abs().max() > 1e-5


def test_guidance_leaves_out_word_voice_and_clip(model):
    condition = model.conditions(torch.arange(3))
    x, t = torch.randn(3, *model.shape, generator=torch.Generator().manual_seed(0)), torch.tensor(0.3)
    with_condition, without = model.predict(t, x, condition), model.predict(t, x, None)
    assert (with_condition - without).abs().max() > 1e-5
    torch.testing.assert_close(model.guided(t, x, condition, 2.0), 3 * with_condition - 2 * without, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(model.predict(t, x, model.null_condition(condition)), without)


def test_samples_do_not_see_each_other(model):
    condition = model.conditions(torch.arange(4))
    x = torch.randn(4, *model.shape, generator=torch.Generator().manual_seed(0))
    t = torch.tensor([0.1, 0.4, 0.6, 0.9])
    alone = torch.cat([model.predict(t[i : i + 1], x[i : i + 1], condition[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(model.predict(t, x, condition), alone, atol=1e-5, rtol=1e-4)


def test_words_are_asked_for_by_text_and_voice(model):
    condition = model.describe("seven", voice=2)
    assert model.texts(condition[None]) == asked(condition[None]) == ["seven"]
    assert digits("ot").texts(torch.tensor([7])) is None
    assert condition[VOICE] == 2
    assert filled(condition[None]).all()
    with pytest.raises(UsageError, match="no voice 8; the speech model has the voices 0 to 7"):
        model.describe("seven", voice=8)
    with pytest.raises(UsageError, match="does not know the word 'eleven'"):
        model.describe("eleven")
    with pytest.raises(NotApplicableError, match="not told by a text"):
        digits("ot").describe("seven")


def test_latents_become_sound(model):
    sound = model.decode(CLIPS.latents[:2])
    assert sound.shape == (2, SAMPLES)
    assert (sound.abs().amax(1) > 0.05).all()


def test_other_tasks_are_refused():
    with pytest.raises(UsageError, match="no speech task 'singing'; choose from synthesis, infill"):
        SpeechModel(seeded(untrained), CLIPS, "singing", "0")
