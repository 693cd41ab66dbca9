"""The base of metrics that look for neighbours of samples among a reference: they come in pairs, fidelity and variety."""

from __future__ import annotations

from typing import Generic, Literal, TypeVar

from torch import Tensor

from bnsbench.metrics.degenerate import require_variety
from bnsbench.metrics.feature_metric import FeatureMetric

WhichT = TypeVar("WhichT", bound=str)

LEAST = 250
"""Of fewer samples, the nearest neighbours lie so far away that nearly everything is near."""


class NeighbourhoodMetric(FeatureMetric, Generic[WhichT]):
    """One of two metrics by neighbours.

    Args:
        which: Its name.
        to: "data" or "truth", the ground-truth samples.
        weights: Path of Inception-v3's weights, needed for RGB images of models without own features.
        minimum: Fewest samples accepted; 0 stands for the metric's own rule.
        data: A folder or file of real samples; "" for the model's own data set.

    Raises:
        UsageError: If a file is not there.
    """

    of_fidelity: WhichT
    """The one of the two that copies of one good sample would do well in: it refuses samples without variety."""

    def __init__(
        self,
        which: WhichT,
        to: Literal["data", "truth"] = "data",
        weights: str = "",
        minimum: int = 0,
        data: str = "",
    ) -> None:
        super().__init__(to, weights, minimum, data)
        self.which: WhichT = which

    def least(self, width: int) -> int:
        del width
        return LEAST

    def check(self, features: Tensor) -> None:
        super().check(features)
        if self.which == self.of_fidelity:
            require_variety(features)
