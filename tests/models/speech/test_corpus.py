from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from bnsbench.errors import BnsbenchError
from bnsbench.models.speech import corpus
from bnsbench.models.speech.corpus import Clips, make_corpus, split_corpus
from bnsbench.models.speech.data import VOICES, WORDS


def everything() -> Clips:
    """A corpus of silence, in the order in which it is spoken."""
    ways = torch.cartesian_prod(torch.arange(len(WORDS)), torch.arange(len(VOICES)), torch.arange(15))
    return Clips(torch.zeros(len(ways), 1, 1), ways[:, 0], ways[:, 1], ways[:, 2])


def test_one_clip_of_every_word_and_voice_is_held_out():
    kept, held = split_corpus(everything())
    assert len(held.words) == len(WORDS) * len(VOICES)
    assert len({*zip(held.words.tolist(), held.voices.tolist(), strict=True)}) == len(held.words)
    assert len(kept.words) == 14 * len(held.words)
    assert len(set(held.ends.tolist())) == 15  # all ways of speaking are held out somewhere


def test_a_corpus_that_is_there_is_read(tmp_path: Path):
    clips = everything().part(torch.arange(4))
    torch.save(clips._asdict(), tmp_path / "corpus.pt")
    assert torch.equal(make_corpus(tmp_path / "corpus.pt").voices, clips.voices)


def test_without_espeak_there_is_no_corpus(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(BnsbenchError, match="spoken by espeak-ng, which is not installed"):
        make_corpus(tmp_path / "corpus.pt")
    assert not (tmp_path / "corpus.pt").exists()


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")
def test_words_are_spoken_whole_and_equally_loud(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(corpus, "WORDS", ("seven", "up"))
    monkeypatch.setattr(corpus, "VOICES", VOICES[:2])
    monkeypatch.setattr(corpus, "SPEEDS", (140,))
    clips = make_corpus(tmp_path / "corpus.pt", iter)
    assert clips.latents.shape == (12, 64, 64)
    silence = clips.latents[0, 0, 0]
    loud = (clips.latents > silence + 0.5).any(1)
    assert not loud[:, :2].any()
    # Words begin where they should and end where they are said to.
    first = loud.float().argmax(1)
    last = 63 - loud.flip(1).float().argmax(1)
    assert ((first >= 2) & (first <= 6)).all()
    assert ((clips.ends - last).abs() <= 4).all()
    assert clips.ends[clips.words == 0].min() > clips.ends[clips.words == 1].max()
