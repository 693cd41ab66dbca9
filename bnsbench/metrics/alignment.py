"""Whether samples show what their condition asked for: class accuracy."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bnsbench.errors import NotApplicableError
from bnsbench.metrics.base import MetricValue, SampleSet
from bnsbench.models.digits.data import CLASSES, SHAPE
from bnsbench.models.digits.model import digit_classifier
from bnsbench.models.weights import weights_fingerprint


class ClassAccuracy:
    """The share of conditional digits that the embedded classifier assigns to the class of their condition.

    The interval is Wilson's; details hold the ground-truth samples' own accuracy as ``truth``.
    Raises NotApplicableError for unconditional samples and for models of other data than 8x8 digits.
    """

    def __call__(self, samples: SampleSet) -> MetricValue:
        samples.require_finite()
        labels = _labels(samples)
        correct = _correct(samples.samples, labels)
        low, high = wilson_interval(int(correct.sum()), len(correct))
        details = {"n": float(len(correct)), "truth": float(_correct(samples.truth, labels).mean())}
        info = {"classifier": weights_fingerprint("digits-classifier")}
        return MetricValue(float(correct.mean()), low, high, details, correct.tolist(), info)


def wilson_interval(successes: int, n: int, z: float = 1.959964) -> tuple[float, float]:
    """Return Wilson's score interval of a proportion; z = 1.96 gives 95 %."""
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return centre - half, centre + half


def _labels(samples: SampleSet) -> Tensor:
    if tuple(samples.samples.shape[1:]) != SHAPE:
        raise NotApplicableError("Class accuracy is defined for 8x8 digits only.")
    labels = samples.condition
    if labels is None or labels.ndim != 1 or bool((labels >= CLASSES).any()):
        raise NotApplicableError("Class accuracy needs samples that are all conditioned on a class.")
    return labels.cpu()


def _correct(images: Tensor, labels: Tensor) -> Tensor:
    """Return 1 for each image [n, 1, 8, 8] that is classified as its label, else 0, in float64."""
    with torch.no_grad():
        logits = digit_classifier()(images.cpu().float().clamp(-1.0, 1.0))
    return torch.eq(logits.argmax(dim=-1), labels).double()
