"""Features of clips of speech, by the recogniser of words."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from torch import Tensor

from bnsbench.errors import NotApplicableError
from bnsbench.flows.features import SampleFeatures
from bnsbench.models.speech.audio import SAMPLES, log_mel
from bnsbench.models.speech.network import WordClassifier
from bnsbench.models.weights import WEIGHTS, load_network, weights_fingerprint

CLASSIFIER = "speech-classifier"


class SpeechFeatures(SampleFeatures):
    """The features of the shipped recogniser, of the spectrogram of a waveform or of end states, which are spectrograms."""

    name = CLASSIFIER
    width = WordClassifier.width

    def __init__(self) -> None:
        self.network = word_classifier()

    def of_samples(self, samples: Tensor) -> Tensor:
        if samples.shape[1:] != (SAMPLES,):
            heard = samples.shape[-1] if samples.ndim == 2 else f"shape {tuple(samples.shape[1:])}"
            raise NotApplicableError(f"The embedded recogniser knows clips of {SAMPLES} values, not of {heard}.")
        return self.network.to(samples.device).features(log_mel(samples))

    def of_states(self, states: Tensor, decode: Callable[[Tensor], Tensor]) -> Tensor:
        del decode  # phases that are estimated would only stand in the way
        return self.network.to(states.device).features(states.float())

    def fingerprint(self) -> str:
        return weights_fingerprint(CLASSIFIER)


@lru_cache(maxsize=1)
def speech_features() -> SpeechFeatures:
    """Return the feature extractor of speech."""
    return SpeechFeatures()


def word_classifier(folder: Path = WEIGHTS) -> WordClassifier:
    """Return the shipped recogniser of words, in float32 and evaluation mode."""
    return load_network(WordClassifier, CLASSIFIER, folder)
