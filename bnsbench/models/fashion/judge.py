"""The judge of clothes: the classifier tells whether a picture shows the kind that was asked for."""

from __future__ import annotations

from functools import lru_cache

from bnsbench.models.class_judge import ClassJudge
from bnsbench.models.fashion.data import CLASSES
from bnsbench.models.fashion.features import CLASSIFIER, fashion_classifier


@lru_cache(maxsize=1)
def fashion_judge() -> ClassJudge:
    """Return the judge of clothes."""
    return ClassJudge(CLASSIFIER, fashion_classifier(), CLASSES)
