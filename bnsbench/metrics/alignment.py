"""Shares of samples that show what their condition asked for, by the model's own judge: of classes, captions or words."""

from __future__ import annotations

import torch
from torch import Tensor

from bnsbench.errors import NotApplicableError
from bnsbench.flows.judge import Asked, ConditionJudge
from bnsbench.metrics.base import MetricValue, SampleSet
from bnsbench.metrics.degenerate import is_flat
from bnsbench.statistics import wilson_interval


class Agreement:
    """The share of samples in which the model's judge finds all that the condition asked for.

    asks: what conditions have to be; see `ConditionJudge`.
    The interval is Wilson's; details hold the ground-truth samples' own share as ``truth``, and the share of each part that
    the judge names. A sample without variation shows nothing, and counts as missed whatever the judge finds.

    Raises:
        NotApplicableError: If the samples are unconditional or the model has no such judge.
        DivergedError: If samples are not finite.
    """

    asks: Asked

    def __call__(self, samples: SampleSet) -> MetricValue:
        # End states are judged, but where the decoder fails nobody is shown anything.
        samples.require_finite(decoded=samples.decoder is not None)
        judge = self._judge(samples)
        if samples.condition is None:
            raise NotApplicableError(f"{type(self).__name__} needs samples that are all conditioned.")
        condition = samples.condition.cpu()
        with torch.no_grad():
            right, truth = (_found(judge, states, condition) for states in (samples.latents, samples.truth_latents))
        found = right.all(dim=1)
        low, high = wilson_interval(int(found.sum()), len(found))
        shares = right.double().mean(dim=0).tolist()
        parts = dict(zip(judge.parts, shares, strict=True)) if judge.parts else {}
        details = {"n": float(len(found)), "truth": float(truth.all(dim=1).double().mean()), **parts}
        info = {"classifier": judge.fingerprint()}
        return MetricValue(float(found.double().mean()), low, high, details, found.double().tolist(), info)

    def _judge(self, samples: SampleSet) -> ConditionJudge:
        judge = samples.model.judge()
        if judge is None or judge.asks != self.asks:
            has = "none" if judge is None else f"one of a {judge.asks}"
            name = type(samples.model).__name__
            raise NotApplicableError(f"{type(self).__name__} needs a judge of a {self.asks}, and {name} brings {has}.")
        return judge


class ClassAccuracy(Agreement):
    """The share of conditional samples that the judge assigns to the class of their condition."""

    asks = "class"


class AttributeAlignment(Agreement):
    """The share of samples that show all that their caption says."""

    asks = "caption"


class WordAccuracy(Agreement):
    """The share of clips in which the judge hears the word that was asked for."""

    asks = "word"


def _found(judge: ConditionJudge, states: Tensor, condition: Tensor) -> Tensor:
    """Return which parts [n, parts] of conditions the judge finds in end states [n, *shape]."""
    shown = judge.shown(states.cpu().float())
    return judge.found(shown, condition) & ~is_flat(shown)[:, None]
