"""The corpus of the speech model: words spoken by espeak-ng in eight voices, at several speeds and pitches."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torchaudio.functional import resample

from bnsbench.errors import BnsbenchError
from bnsbench.media.wav import read_wav
from bnsbench.models.speech.audio import HOP, RATE, SAMPLES, log_mel
from bnsbench.models.speech.data import VOICES, WORDS
from bnsbench.storage.files import replacing

SPEEDS = (125, 140, 155, 170, 190)
"""Words per minute."""
PITCHES = (35, 50, 65)
"""Of espeak-ng's range from 0 to 99."""
ONSET = 4
"""Frames of silence before a word."""
LOUDNESS = 0.1
"""Root mean square of a word's samples."""
QUIET = 0.01
HELD_OUT_EVERY = 15


Way = tuple[int, int, int, int]
"""Word, voice, speed and pitch of a clip."""
Progress = Callable[[Sequence[Way]], Iterable[Way]]
"""Passes on what will be spoken, and shows how far it is."""


class Clips(NamedTuple):
    """Latents [n, 64, 64] in float16 with words, voices, and the first silent frame after the word, each int64 [n]."""

    latents: Tensor
    words: Tensor
    voices: Tensor
    ends: Tensor

    def part(self, index: Tensor) -> Clips:
        """Return the clips at these places."""
        return Clips(*(values[index] for values in self))


def make_corpus(file: Path, progress: Progress = iter) -> Clips:
    """Return all clips, from the file if there is one, which is written otherwise.

    BnsbenchError if espeak-ng is not installed.
    """
    if not file.exists():
        if shutil.which("espeak-ng") is None:
            raise BnsbenchError(
                "The speech corpus is spoken by espeak-ng, which is not installed (Debian: apt install espeak-ng)."
            )
        with replacing(file) as temporary:
            torch.save(dict(_record(progress)._asdict()), temporary)
    return Clips(**torch.load(file, weights_only=True))


def split_corpus(clips: Clips) -> tuple[Clips, Clips]:
    """Return the clips to train on and those held out: one speed and pitch of every word in every voice."""
    place = torch.arange(len(clips.words))
    # Every word in every voice comes in 15 ways, and which of them is held out moves on with word and voice.
    held = place % HELD_OUT_EVERY == (clips.words + 4 * clips.voices) % HELD_OUT_EVERY
    return clips.part((~held).nonzero()[:, 0]), clips.part(held.nonzero()[:, 0])


def _record(progress: Progress) -> Clips:
    ways = list(product(range(len(WORDS)), range(len(VOICES)), SPEEDS, PITCHES))
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor() as pool:
        sounds = list(pool.map(lambda way: _speak(way, Path(folder)), progress(ways)))
    padded = torch.zeros(len(sounds), SAMPLES)
    for row, sound in zip(padded, sounds, strict=True):
        length = min(len(sound), SAMPLES - ONSET * HOP)
        row[ONSET * HOP : ONSET * HOP + length] = sound[:length]
    words, voices = torch.tensor(ways)[:, :2].T
    ends = torch.tensor([min(SAMPLES // HOP, ONSET + 1 + len(sound) // HOP) for sound in sounds])
    return Clips(log_mel(padded).half(), words.clone(), voices.clone(), ends)


def _speak(way: Way, folder: Path) -> Tensor:
    """Return a word without the silence around it, at 16 kHz and of one loudness."""
    word, voice, speed, pitch = way
    file = folder / f"{word}-{voice}-{speed}-{pitch}.wav"
    options = ["-v", VOICES[voice], "-s", str(speed), "-p", str(pitch), "-w", str(file)]
    subprocess.run(["espeak-ng", *options, WORDS[word]], check=True, capture_output=True)  # noqa: S603, S607
    sound, rate = read_wav(file)
    file.unlink()
    sound = resample(sound, rate, RATE)
    loud = (sound.abs() > QUIET).nonzero()
    sound = sound[max(int(loud[0]) - HOP, 0) : int(loud[-1]) + 2 * HOP]
    loudness = sound.square().mean().sqrt()
    return torch.mul(sound, LOUDNESS / loudness)
