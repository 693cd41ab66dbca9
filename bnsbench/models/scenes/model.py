"""Text to image: a small network that draws captioned scenes."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from bnsbench.flows.model import Reference, check_details
from bnsbench.flows.paths import CondOT
from bnsbench.models.embedded import EmbeddedNetwork
from bnsbench.models.image_features import ClassifierFeatures
from bnsbench.models.scenes.data import SHAPE, caption_tokens, captions, random_scenes, tokenise
from bnsbench.models.scenes.features import scene_features
from bnsbench.models.scenes.judge import SceneJudge, scene_judge
from bnsbench.models.scenes.network import ScenesNetwork
from bnsbench.models.weights import WEIGHTS, load_network, weights_fingerprint

NAME = "scenes"
REFERENCES = 4096


class ScenesModel(EmbeddedNetwork):
    """A text-to-image model of 32x32 scenes on the CondOT path; conditions are tokens [batch, 5], 0 meaning "no caption"."""

    shape = SHAPE
    path = CondOT()

    def predict(self, t: Tensor, x: Tensor, condition: Tensor | None) -> Tensor:
        if condition is None:
            condition = self.null_condition(caption_tokens(torch.zeros(len(x))))
        clock = (2.0 * t.to(torch.float64) - 1.0).to(x)
        velocity: Tensor = self.network(clock, x, condition.to(x.device))
        return velocity

    def conditions(self, indices: Tensor) -> Tensor:
        return caption_tokens(indices)

    def describe(self, text: str, **details: int) -> Tensor:
        check_details(details)
        return tokenise(text)

    def texts(self, condition: Tensor) -> list[str]:
        return captions(condition)

    def null_condition(self, condition: Tensor) -> Tensor:
        return torch.zeros_like(condition)

    def reference(self) -> Reference:
        return Reference(_references())

    def features(self) -> ClassifierFeatures:
        return scene_features()

    def judge(self) -> SceneJudge:
        return scene_judge()


@lru_cache(maxsize=1)
def _references() -> Tensor:
    return random_scenes(REFERENCES, torch.Generator().manual_seed(0)).images


def scenes(folder: Path = WEIGHTS) -> ScenesModel:
    """Return the shipped text-to-image model; CorruptFileError if the weights do not match their recorded hash."""
    return ScenesModel(load_network(ScenesNetwork, NAME, folder), weights_fingerprint(NAME, folder))
