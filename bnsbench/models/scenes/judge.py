"""The judge of scenes: their reader tells whether they show what their captions say."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from bnsbench.flows.judge import ConditionJudge
from bnsbench.models.scenes.data import ATTRIBUTES, attributes
from bnsbench.models.scenes.features import CLASSIFIER, scene_classifier
from bnsbench.models.weights import weights_fingerprint

BATCH = 256


class SceneJudge(ConditionJudge):
    """The shipped reader, which reads layout, and two colours and shapes; it stands in for a CLIP score."""

    asks = "caption"
    parts = tuple(ATTRIBUTES)

    def __init__(self) -> None:
        self.classifier = scene_classifier()

    def shown(self, states: Tensor) -> Tensor:
        return states.clamp(-1.0, 1.0)

    def found(self, shown: Tensor, condition: Tensor) -> Tensor:
        read = torch.cat([self.classifier.read(part) for part in torch.split(shown, BATCH)])
        return read == attributes(condition)

    def log_likelihood(self, shown: Tensor, condition: Tensor) -> Tensor:
        # The attributes of a caption are read independently of each other.
        wanted = attributes(condition)
        read = [self.classifier(part) for part in torch.split(shown, BATCH)]
        each = [
            -cross_entropy(torch.cat(logits), wanted[:, place], reduction="none")
            for place, logits in enumerate(zip(*read, strict=True))
        ]
        return torch.stack(each).sum(dim=0)

    def fingerprint(self) -> str:
        return weights_fingerprint(CLASSIFIER)


@lru_cache(maxsize=1)
def scene_judge() -> SceneJudge:
    """Return the judge of scenes."""
    return SceneJudge()
