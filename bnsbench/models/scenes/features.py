"""Features of 32x32 scenes, by the reader of scenes."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from bnsbench.models.image_features import ClassifierFeatures
from bnsbench.models.scenes.data import SHAPE
from bnsbench.models.scenes.network import SceneClassifier
from bnsbench.models.weights import WEIGHTS, load_network

CLASSIFIER = "scenes-classifier"


@lru_cache(maxsize=1)
def scene_features() -> ClassifierFeatures:
    """Return the feature extractor of scenes; it has no logits, for it reads attributes of parts."""
    return ClassifierFeatures(CLASSIFIER, scene_classifier(), SHAPE)


def scene_classifier(folder: Path = WEIGHTS) -> SceneClassifier:
    """Return the shipped reader of scenes, in float32 and evaluation mode."""
    return load_network(SceneClassifier, CLASSIFIER, folder)
