"""How near the samples are to the ground truth of the same noise: the peak signal-to-noise ratio."""

from __future__ import annotations

import math

from scipy.stats import t as student
from torch import Tensor

from bnsbench.flows.psnr import psnr_per_sample
from bnsbench.metrics.base import MetricValue, SampleSet


def mean_interval(values: Tensor, confidence: float = 0.95) -> tuple[float, float] | tuple[None, None]:
    """Return Student's interval of the mean of independent values [n]; (None, None) for a single value."""
    n = len(values)
    if n < 2:
        return None, None
    half = float(student.ppf(0.5 + confidence / 2, n - 1)) * float(values.std()) / math.sqrt(n)
    mean = float(values.mean())
    return mean - half, mean + half


class Psnr:
    """The mean over samples of the PSNR of the ODE's end states, in dB, with median and 5 % quantile.

    It looks at the latents, which are what a solver determines, without decoding or clamping.
    Raises DivergedError for samples that are not finite.
    """

    def __call__(self, samples: SampleSet) -> MetricValue:
        samples.require_finite()
        values = psnr_per_sample(samples.latents, samples.truth_latents, samples.data_range).cpu()
        low, high = mean_interval(values)
        details = {
            "n": float(len(values)),
            "data_range": samples.data_range,
            "median": float(values.quantile(0.5)),
            "p05": float(values.quantile(0.05)),
        }
        return MetricValue(float(values.mean()), low, high, details, per_sample=values.tolist())
