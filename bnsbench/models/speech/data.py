"""The conditions of the speech model: a word by its letters, a voice, and the part of a reference clip to be filled in."""

from __future__ import annotations

import torch
from torch import Tensor

from bnsbench.errors import UsageError

WORDS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    *("yes", "no", "stop", "go", "left", "right", "up", "down", "hello", "music", "water", "green", "seventeen", "sunday"),
)
VOICES = (
    *("en-us+m3", "en-us+f2", "en-gb+m7", "en-gb+f4"),
    *("en-gb-scotland+m1", "en-gb-scotland+f5", "en-gb-x-rp+f3", "en-029+m5"),
)
"""The voices of espeak-ng, an accent and a speaker, by number."""

LETTERS = 9
"""A word's letters, 1 for a to 26 for z, padded by 0."""
ANY_VOICE = len(VOICES)
FRAMES = 64
NO_CLIP = -1

VOICE, CLIP, START, END = LETTERS, LETTERS + 1, LETTERS + 2, LETTERS + 3
WIDTH = LETTERS + 4
"""A condition is a row of so many int64: letters, voice, clip, and the first frame to fill in and the one after the last."""


def spell(word: str) -> Tensor:
    """Return the letters [9] of a word; UsageError for words that the model was never taught."""
    if word.lower().strip() not in WORDS:
        raise UsageError(f"The speech model does not know the word {word!r}; it knows {', '.join(WORDS)}.")
    numbers = [ord(letter) - ord("a") + 1 for letter in word.lower().strip()]
    return torch.tensor(numbers + [0] * (LETTERS - len(numbers)), dtype=torch.int64)


SPELLINGS = torch.stack([spell(word) for word in WORDS])
"""The letters [words, 9] of all words."""


def spoken(words: Tensor, voices: Tensor) -> Tensor:
    """Return the conditions [n, 13] that ask for words [n] in voices [n], nothing given."""
    rest = torch.tensor([NO_CLIP, 0, FRAMES]).expand(len(words), 3)
    return torch.cat([SPELLINGS[words], voices[:, None], rest], dim=1)


def filling(words: Tensor, voices: Tensor, clips: Tensor, spans: Tensor) -> Tensor:
    """Return the conditions [n, 13] that ask to fill in a part of reference clips.

    Args:
        words: Numbers [n] of the words that the clips say.
        voices: Numbers [n] of their voices.
        clips: Numbers [n] of the clips.
        spans: [n, 2], the first frame to fill in and the one after the last.
    """
    return torch.cat([SPELLINGS[words], voices[:, None], clips[:, None], spans], dim=1)


def unconditional(condition: Tensor) -> Tensor:
    """Return conditions of the same number that ask for nothing."""
    nothing = torch.tensor([0] * LETTERS + [ANY_VOICE, NO_CLIP, 0, FRAMES], device=condition.device)
    return nothing.expand(len(condition), WIDTH).clone()


def asked(condition: Tensor) -> list[str]:
    """Return the words that conditions [n, 13] ask for."""
    return ["".join(chr(ord("a") + letter - 1) for letter in row if letter) for row in condition[:, :LETTERS].tolist()]


def filled(condition: Tensor) -> Tensor:
    """Return which frames [n, 64] are to be made up; the others are given by a clip."""
    frames = torch.arange(FRAMES, device=condition.device)
    inside = (frames >= condition[:, START, None]) & (frames < condition[:, END, None])
    return inside | (condition[:, CLIP, None] == NO_CLIP)
