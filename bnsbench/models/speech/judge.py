"""The judge of speech: the recogniser of words tells whether a clip says the word of its condition."""

from __future__ import annotations

from functools import lru_cache

from torch import Tensor

from bnsbench.flows.judge import ConditionJudge
from bnsbench.models.speech.data import LETTERS, SPELLINGS
from bnsbench.models.speech.features import CLASSIFIER, word_classifier
from bnsbench.models.weights import weights_fingerprint


class SpeechJudge(ConditionJudge):
    """The shipped recogniser, which hears one of the known words in the end states, log-mel spectrograms."""

    asks = "word"

    def __init__(self) -> None:
        self.classifier = word_classifier()

    def found(self, shown: Tensor, condition: Tensor) -> Tensor:
        words = SPELLINGS[self.classifier(shown).argmax(dim=1)]
        return (words == condition[:, :LETTERS]).all(dim=1, keepdim=True)

    def fingerprint(self) -> str:
        return weights_fingerprint(CLASSIFIER)


@lru_cache(maxsize=1)
def speech_judge() -> SpeechJudge:
    """Return the judge of speech."""
    return SpeechJudge()
