"""The judge of digits: the classifier tells whether an image shows the class of its condition."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from bnsbench.errors import NotApplicableError
from bnsbench.flows.judge import ConditionJudge
from bnsbench.models.digits.data import CLASSES
from bnsbench.models.digits.features import CLASSIFIER, digit_classifier
from bnsbench.models.weights import weights_fingerprint


class DigitJudge(ConditionJudge):
    """The shipped classifier, which assigns every image one of the ten classes."""

    asks = "class"

    def __init__(self) -> None:
        self.classifier = digit_classifier()

    def shown(self, states: Tensor) -> Tensor:
        return states.clamp(-1.0, 1.0)

    def found(self, shown: Tensor, condition: Tensor) -> Tensor:
        if condition.ndim != 1 or bool((condition >= CLASSES).any()):
            raise NotApplicableError("Class accuracy needs samples that are all conditioned on a class.")
        return torch.eq(self.classifier(shown).argmax(dim=-1), condition)[:, None]

    def fingerprint(self) -> str:
        return weights_fingerprint(CLASSIFIER)


@lru_cache(maxsize=1)
def digit_judge() -> DigitJudge:
    """Return the judge of digits."""
    return DigitJudge()
