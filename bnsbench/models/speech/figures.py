"""The figures by which the speech weights are judged: words and voices that the classifier recognises."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from bnsbench.models.speech.data import VOICE, WORDS, asked
from bnsbench.models.speech.features import word_classifier
from bnsbench.models.speech.model import SpeechModel, reference_clips, speech
from bnsbench.models.weights import WEIGHTS
from bnsbench.truth.ground_truth import solve
from bnsbench.truth.noise import noise

SAMPLES = 192
"""Every word in every voice once."""
TOLERANCE = 1e-4
BATCH = 128


def measure_generator(folder: Path = WEIGHTS) -> dict[str, float]:
    """Return word and voice accuracy of ground-truth samples: synthesis at w = 0, 1 and 2, infilling at w = 0."""
    figures: dict[str, float] = {}
    for guidance in (0, 1, 2):
        word, voice = _accuracies(speech("synthesis", folder), guidance)
        figures |= {f"word_accuracy_w{guidance}": word, f"voice_accuracy_w{guidance}": voice}
    word, voice = _accuracies(speech("infill", folder), 0)
    return {**figures, "infill_word_accuracy": word, "infill_voice_accuracy": voice}


def measure_classifier(folder: Path = WEIGHTS) -> dict[str, float]:
    """Return the shares of words and of voices recognised in the shipped clips, which no training has seen."""
    clips, classifier = reference_clips(), word_classifier(folder)
    features = classifier.features(clips.latents)
    words, voices = classifier.words(features).argmax(1), classifier.voices(features).argmax(1)
    return {"word_accuracy": _share(words == clips.words), "voice_accuracy": _share(voices == clips.voices)}


def _accuracies(model: SpeechModel, guidance: int) -> tuple[float, float]:
    x0 = noise(0, "speech-gate", "validation", range(SAMPLES), model.shape).float()
    condition = model.conditions(torch.arange(SAMPLES))
    parts = [
        solve(model.field(condition[part], guidance), x0[part], TOLERANCE)[0]
        for part in torch.split(torch.arange(SAMPLES), BATCH)
    ]
    classifier = word_classifier()
    features = classifier.features(torch.cat(parts))
    words = classifier.words(features).argmax(dim=1).tolist()
    right = torch.tensor([WORDS[word] == wanted for word, wanted in zip(words, asked(condition), strict=True)])
    return _share(right), _share(classifier.voices(features).argmax(dim=1) == condition[:, VOICE])


def _share(right: Tensor) -> float:
    return float(right.float().mean())
