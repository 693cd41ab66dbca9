"""Text to audio: a small network that speaks words in several voices, or fills in what is missing of a clip."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from bnsbench.errors import UsageError
from bnsbench.flows.model import check_details
from bnsbench.flows.paths import CondOT
from bnsbench.models.embedded import EmbeddedNetwork
from bnsbench.models.speech.audio import BANDS, FRAMES, RATE, waveform
from bnsbench.models.speech.corpus import ONSET, Clips
from bnsbench.models.speech.data import (
    CLIP,
    LETTERS,
    VOICE,
    VOICES,
    WORDS,
    asked,
    filled,
    filling,
    spell,
    spoken,
    unconditional,
)
from bnsbench.models.speech.features import SpeechFeatures, speech_features
from bnsbench.models.speech.judge import SpeechJudge, speech_judge
from bnsbench.models.speech.network import SpeechNetwork
from bnsbench.models.weights import WEIGHTS, load_network, load_weights, weights_fingerprint

NAME = "speech"
CLIPS = "speech-clips"
TASKS = ("synthesis", "infill")
SHARE = 0.5
"""Of a word's frames, that infilling has to make up."""
_STRIDE = 89
"""Has no factor in common with the number of words and voices."""


class SpeechModel(EmbeddedNetwork):
    """A text- and voice-conditional model of log-mel spectrograms on the CondOT path.

    Conditions are rows of `bnsbench.models.speech.data`.

    Args:
        network: The network with its weights, which is frozen.
        clips: Reference clips.
        task: "synthesis" of a word from nothing, or "infill" of the middle of a reference clip whose other frames are given.
        fingerprint: A hash of weights, clips and task.

    Raises:
        UsageError: If there is no such task.
    """

    network: SpeechNetwork
    shape = (BANDS, FRAMES)
    data_range = 3.75  # from silence to the loudest of the corpus
    sample_rate = RATE
    path = CondOT()

    def __init__(self, network: SpeechNetwork, clips: Clips, task: str, fingerprint: str) -> None:
        if task not in TASKS:
            raise UsageError(f"There is no speech task {task!r}; choose from {', '.join(TASKS)}.")
        super().__init__(network, fingerprint)
        self.clips = clips
        self.task = task

    def predict(self, t: Tensor, x: Tensor, condition: Tensor | None) -> Tensor:
        told = unconditional(x) if condition is None else condition.to(x.device)
        known = ~filled(told)
        given = self._given(told).to(x) * known[:, None]
        clock = (2.0 * t.to(torch.float64) - 1.0).to(x)
        velocity: Tensor = self.network(clock, x, told[:, :LETTERS], told[:, VOICE], given, known)
        return velocity

    def conditions(self, indices: Tensor) -> Tensor:
        if self.task == "synthesis":
            numbers = indices.to(torch.int64) * _STRIDE % (len(WORDS) * len(VOICES))
            return spoken(numbers % len(WORDS), numbers // len(WORDS))
        rows = indices.to(torch.int64) % len(self.clips.words)
        clips = self.clips.part(rows.to(self.clips.words.device))
        words, voices, ends = (values.to(rows.device) for values in (clips.words, clips.voices, clips.ends))
        length = ((ends - ONSET) * SHARE).round().long()
        # Repeated clips miss another part.
        turn = indices.to(torch.int64) // len(self.clips.words)
        start = ONSET + (ends - ONSET - length) * ((1 + turn) % 4) // 4
        return filling(words, voices, rows, torch.stack([start, start + length], dim=1))

    def describe(self, text: str, **details: int) -> Tensor:
        check_details(details, ("voice",))
        voice = details.get("voice", 0)
        if not 0 <= voice < len(VOICES):
            raise UsageError(f"There is no voice {voice}; the speech model has the voices 0 to {len(VOICES) - 1}.")
        row = spoken(torch.zeros(1, dtype=torch.int64), torch.tensor([voice]))[0]
        row[:LETTERS] = spell(text)
        return row

    def texts(self, condition: Tensor) -> list[str]:
        return asked(condition)

    def null_condition(self, condition: Tensor) -> Tensor:
        return unconditional(condition)

    def decode(self, x: Tensor) -> Tensor:
        return waveform(x.cpu())

    def features(self) -> SpeechFeatures:
        return speech_features()

    def judge(self) -> SpeechJudge:
        return speech_judge()

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Self:
        self.clips = Clips(*(values.to(device) for values in self.clips))
        return super().to(device, dtype)

    def _given(self, condition: Tensor) -> Tensor:
        """Return the latents of the clips that conditions name, of any clip where they name none."""
        return self.clips.latents[condition[:, CLIP].clamp_min(0).to(self.clips.latents.device)]


def speech(task: str = "synthesis", folder: Path = WEIGHTS) -> SpeechModel:
    """Return the shipped speech model for "synthesis" or "infill"; CorruptFileError for weights unlike their hash."""
    network = load_network(SpeechNetwork, NAME, folder)
    facts = [weights_fingerprint(NAME, folder), weights_fingerprint(CLIPS, folder), task]
    fingerprint = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
    return SpeechModel(network, reference_clips(folder), task, fingerprint)


def reference_clips(folder: Path = WEIGHTS) -> Clips:
    """Return the shipped clips, which were held out of training."""
    found = load_weights(CLIPS, folder)
    return Clips(found["latents"], *(found[name].long() for name in ("words", "voices", "ends")))
