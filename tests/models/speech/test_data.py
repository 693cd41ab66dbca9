from __future__ import annotations

import pytest
import torch

from bnsbench.errors import UsageError
from bnsbench.models.speech.data import ANY_VOICE, FRAMES, VOICE, WORDS, asked, filled, filling, spell, spoken, unconditional


def test_words_are_spelled():
    assert spell(" Seven ").tolist() == [19, 5, 22, 5, 14, 0, 0, 0, 0]
    with pytest.raises(UsageError, match="does not know the word 'eleven'; it knows zero, one, two"):
        spell("eleven")


def test_conditions_ask_for_words_and_voices():
    words, voices = torch.arange(24), torch.arange(24) % 8
    condition = spoken(words, voices)
    assert asked(condition) == list(WORDS)
    assert torch.equal(condition[:, VOICE], voices)
    assert filled(condition).all()


def test_nothing_is_asked_for_without_condition():
    nothing = unconditional(spoken(torch.arange(3), torch.arange(3)))
    assert asked(nothing) == ["", "", ""]
    assert (nothing[:, VOICE] == ANY_VOICE).all()
    assert filled(nothing).all()


def test_only_the_span_of_a_clip_is_filled_in():
    spans = torch.tensor([[0, 5], [10, 64]])
    made = filled(filling(torch.tensor([1, 2]), torch.tensor([0, 0]), torch.tensor([0, 3]), spans))
    assert made.shape == (2, FRAMES)
    assert made[0].tolist() == [True] * 5 + [False] * 59
    assert made[1].tolist() == [False] * 10 + [True] * 54
