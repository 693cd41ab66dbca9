"""Features and logits of 28x28 pictures of clothes, by the fashion classifier."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from bnsbench.models.fashion.data import CLASSES, SHAPE
from bnsbench.models.fashion.network import FashionClassifier
from bnsbench.models.image_features import ClassFeatures
from bnsbench.models.weights import WEIGHTS, load_network

CLASSIFIER = "fashion-classifier"


@lru_cache(maxsize=1)
def fashion_features() -> ClassFeatures:
    """Return the feature extractor of clothes."""
    return ClassFeatures(CLASSIFIER, fashion_classifier(), SHAPE, CLASSES)


def fashion_classifier(folder: Path = WEIGHTS) -> FashionClassifier:
    """Return the shipped fashion classifier, in float32 and evaluation mode."""
    return load_network(FashionClassifier, CLASSIFIER, folder)
