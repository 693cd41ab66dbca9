"""Features and logits of 28x28 pictures of clothes, by the fashion classifier."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from torch import Tensor

from bnsbench.models.fashion.data import CLASSES, SHAPE
from bnsbench.models.fashion.network import FashionClassifier
from bnsbench.models.image_features import ClassifierFeatures
from bnsbench.models.weights import WEIGHTS, load_network

CLASSIFIER = "fashion-classifier"


class FashionFeatures(ClassifierFeatures):
    """The features of the shipped fashion classifier, and its logits of the ten classes."""

    classes = CLASSES
    network: FashionClassifier

    def __init__(self) -> None:
        super().__init__(CLASSIFIER, fashion_classifier(), SHAPE)

    def logits(self, samples: Tensor) -> Tensor:
        self.watch(samples)
        logits: Tensor = self.network(samples)
        return logits


@lru_cache(maxsize=1)
def fashion_features() -> FashionFeatures:
    """Return the feature extractor of clothes."""
    return FashionFeatures()


def fashion_classifier(folder: Path = WEIGHTS) -> FashionClassifier:
    """Return the shipped fashion classifier, in float32 and evaluation mode."""
    return load_network(FashionClassifier, CLASSIFIER, folder)
