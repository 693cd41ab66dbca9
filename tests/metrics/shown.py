"""A model whose samples are what they are: only what it brings matters to metrics."""

from __future__ import annotations

from torch import Tensor

from bnsbench.flows.features import SampleFeatures
from bnsbench.flows.judge import ConditionJudge
from bnsbench.flows.model import Model, Reference
from bnsbench.flows.paths import CondOT


class Shown(Model):
    """A model of such features, judge, data and sample rate, which predicts its states."""

    path = CondOT()

    def __init__(
        self,
        shape: tuple[int, ...] = (),
        features: SampleFeatures | None = None,
        judge: ConditionJudge | None = None,
        data: Tensor | None = None,
        rate: int | None = None,
    ) -> None:
        self.shape = shape if data is None else tuple(data.shape[1:])
        self._features, self._judge, self._data, self.sample_rate = features, judge, data, rate

    def predict(self, t: Tensor, x: Tensor, condition: Tensor | None) -> Tensor:
        return x

    def fingerprint(self) -> str:
        return "0"

    def features(self) -> SampleFeatures | None:
        return self._features

    def judge(self) -> ConditionJudge | None:
        return self._judge

    def reference(self) -> Reference | None:
        return None if self._data is None else Reference(self._data)
