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
        judge, condition = judge_and_conditions(samples, type(self).__name__, self.asks)
        with torch.no_grad():
            right, truth = (_found(judge, states, condition) for states in (samples.latents, samples.truth_latents))
        found = right.all(dim=1)
        low, high = wilson_interval(int(found.sum()), len(found))
        shares = right.double().mean(dim=0).tolist()
        parts = dict(zip(judge.parts, shares, strict=True)) if judge.parts else {}
        details = {"n": float(len(found)), "truth": float(truth.all(dim=1).double().mean()), **parts}
        info = {"classifier": judge.fingerprint()}
        return MetricValue(float(found.double().mean()), low, high, details, found.double().tolist(), info)


class ClassAccuracy(Agreement):
    """The share of conditional samples that the judge assigns to the class of their condition."""

    asks = "class"


class AttributeAlignment(Agreement):
    """The share of samples that show all that their caption says."""

    asks = "caption"


class WordAccuracy(Agreement):
    """The share of clips in which the judge hears the word that was asked for."""

    asks = "word"


def judge_and_conditions(samples: SampleSet, metric: str, asks: Asked | None = None) -> tuple[ConditionJudge, Tensor]:
    """Return the judge of the samples' model and the conditions [n, ...] on the CPU.

    Args:
        samples: The samples.
        metric: Who asks, for the messages.
        asks: What conditions have to be; None for anything.

    Raises:
        NotApplicableError: If the model has no such judge, or the samples are unconditional.
    """
    judge = samples.model.judge()
    if judge is None or asks not in (None, judge.asks):
        has = "none" if judge is None else f"one of a {judge.asks}"
        wanted = "conditions" if asks is None else f"a {asks}"
        raise NotApplicableError(f"{metric} needs a judge of {wanted}, and {type(samples.model).__name__} brings {has}.")
    if samples.condition is None:
        raise NotApplicableError(f"{metric} needs samples that are all conditioned.")
    return judge, samples.condition.cpu()


def _found(judge: ConditionJudge, states: Tensor, condition: Tensor) -> Tensor:
    """Return which parts [n, parts] of conditions the judge finds in end states [n, *shape]."""
    shown = judge.shown(states.cpu().float())
    return judge.found(shown, condition) & ~is_flat(shown)[:, None]
