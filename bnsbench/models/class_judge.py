"""The judge of class-conditional images: their classifier tells whether they show what was asked for."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from bnsbench.errors import NotApplicableError
from bnsbench.flows.judge import ConditionJudge
from bnsbench.models.image_features import ClassLogits
from bnsbench.models.weights import weights_fingerprint

BATCH = 500


class ClassJudge(ConditionJudge):
    """A shipped classifier, which assigns every image one of the classes.

    Args:
        name: Of the classifier's weights.
        classifier: The network with these weights.
        classes: Their number; other labels stand for no class.
    """

    asks = "class"

    def __init__(self, name: str, classifier: ClassLogits, classes: int) -> None:
        self.name = name
        self.classifier = classifier
        self.classes = classes

    def shown(self, states: Tensor) -> Tensor:
        return states.clamp(-1.0, 1.0)

    def found(self, shown: Tensor, condition: Tensor) -> Tensor:
        self._check(condition)
        return torch.eq(self._logits(shown).argmax(dim=-1), condition)[:, None]

    def log_likelihood(self, shown: Tensor, condition: Tensor) -> Tensor:
        self._check(condition)
        return -cross_entropy(self._logits(shown), condition, reduction="none")

    def _check(self, condition: Tensor) -> None:
        if condition.ndim != 1 or bool((condition >= self.classes).any()):
            raise NotApplicableError("Class accuracy needs samples that are all conditioned on a class.")

    def _logits(self, shown: Tensor) -> Tensor:
        return torch.cat([self.classifier(part) for part in torch.split(shown, BATCH)])

    def fingerprint(self) -> str:
        return weights_fingerprint(self.name)


def share_right(classifier: ClassLogits, images: Tensor, labels: Tensor) -> float:
    """Return the share of images [n, C, H, W], clamped to [-1, 1], whose class is read as labelled."""
    with torch.no_grad():
        parts = torch.split(images.float().clamp(-1.0, 1.0), BATCH)
        read = torch.cat([classifier(part).argmax(dim=-1) for part in parts])
    return float((read == labels).float().mean())
