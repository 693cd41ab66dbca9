"""Features and logits of 8x8 digits, by the digit classifier."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from torch import Tensor

from bnsbench.models.digits.data import CLASSES, SHAPE
from bnsbench.models.digits.network import DigitClassifier
from bnsbench.models.image_features import ClassifierFeatures
from bnsbench.models.weights import WEIGHTS, load_network

CLASSIFIER = "digits-classifier"


class DigitFeatures(ClassifierFeatures):
    """The features of the shipped digit classifier, and its logits of the ten classes."""

    classes = CLASSES
    network: DigitClassifier

    def __init__(self) -> None:
        super().__init__(CLASSIFIER, digit_classifier(), SHAPE)

    def logits(self, samples: Tensor) -> Tensor:
        self.watch(samples)
        logits: Tensor = self.network(samples)
        return logits


@lru_cache(maxsize=1)
def digit_features() -> DigitFeatures:
    """Return the feature extractor of digits."""
    return DigitFeatures()


def digit_classifier(folder: Path = WEIGHTS) -> DigitClassifier:
    """Return the shipped digit classifier, in float32 and evaluation mode."""
    return load_network(DigitClassifier, CLASSIFIER, folder)
