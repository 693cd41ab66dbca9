"""Features and logits of 8x8 digits, by the digit classifier."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from bnsbench.models.digits.data import CLASSES, SHAPE
from bnsbench.models.digits.network import DigitClassifier
from bnsbench.models.image_features import ClassFeatures
from bnsbench.models.weights import WEIGHTS, load_network

CLASSIFIER = "digits-classifier"


@lru_cache(maxsize=1)
def digit_features() -> ClassFeatures:
    """Return the feature extractor of digits."""
    return ClassFeatures(CLASSIFIER, digit_classifier(), SHAPE, CLASSES)


def digit_classifier(folder: Path = WEIGHTS) -> DigitClassifier:
    """Return the shipped digit classifier, in float32 and evaluation mode."""
    return load_network(DigitClassifier, CLASSIFIER, folder)
