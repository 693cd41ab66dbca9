"""The judge of digits: the classifier tells whether an image shows the class of its condition."""

from __future__ import annotations

from functools import lru_cache

from bnsbench.models.class_judge import ClassJudge
from bnsbench.models.digits.data import CLASSES
from bnsbench.models.digits.features import CLASSIFIER, digit_classifier


@lru_cache(maxsize=1)
def digit_judge() -> ClassJudge:
    """Return the judge of digits."""
    return ClassJudge(CLASSIFIER, digit_classifier(), CLASSES)
