"""Statistics over the same noise: what two solvers differ by, sample by sample."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

CONFIDENCE = 0.95


@dataclass(frozen=True)
class PairedDifference:
    """The mean of b - a over samples with its Student interval [low, high]."""

    mean: float
    low: float
    high: float

    @property
    def separable(self) -> bool:
        """Whether the interval excludes zero."""
        return not self.low <= 0.0 <= self.high


def paired_difference(a: Sequence[float], b: Sequence[float], confidence: float = CONFIDENCE) -> PairedDifference | None:
    """Return the mean difference b - a of values of the same samples; None if they cannot be paired.

    a and b: values by sample index, equally many and at least two. The interval is Student's for the mean difference: it
    covers the choice of noise, not that of model, training or data.
    """
    if len(a) != len(b) or len(a) < 2:
        return None
    difference = np.asarray(b, dtype=np.float64) - np.asarray(a, dtype=np.float64)
    mean = float(difference.mean())
    quantile = float(stdtrit(len(a) - 1, 0.5 + confidence / 2))
    half = quantile * float(difference.std(ddof=1)) / math.sqrt(len(a))
    return PairedDifference(mean, mean - half, mean + half)
