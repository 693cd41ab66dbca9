"""Metrics that are a mean over samples, each compared with the ground truth of its noise."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import Tensor

from bnsbench.metrics.base import MetricValue, SampleSet, finite
from bnsbench.statistics import mean_interval
from bnsbench.storage.rows import Rows


class PairedMetric(ABC):
    """The mean over samples of `compare`, with its 95 % interval, the median, and the quantile that 5 % are worse than.

    worst: that quantile; 0.05 where higher is better, else 0.95.

    Raises:
        DivergedError: If samples are not finite, or the number of one is not.
    """

    worst = 0.05

    @abstractmethod
    def compare(self, samples: SampleSet) -> Tensor:
        """Return one number for each sample [n]."""

    def details(self, samples: SampleSet) -> dict[str, float]:
        """Return further numbers for the record."""
        del samples
        return {}

    def info(self, samples: SampleSet) -> dict[str, str]:
        """Return texts for the record, such as the fingerprint of the network that compares."""
        del samples
        return {}

    def __call__(self, samples: SampleSet) -> MetricValue:
        samples.require_finite()
        found = Rows(len(samples))
        for part in samples.parts():
            found.add(self.compare(part).detach().cpu().double())
        values = found.whole()
        finite(values[:, None], f"values of {type(self).__name__}")
        return mean_of(values, self.worst, self.details(samples), self.info(samples))


def mean_of(values: Tensor, worst: float, details: Mapping[str, float], info: Mapping[str, str]) -> MetricValue:
    """Return the mean of values with its 95 % interval, their median and a quantile.

    Args:
        values: [n], one for each sample.
        worst: Which quantile, between 0 and 1.
        details: Further numbers for the record.
        info: Texts for the record.
    """
    low, high = mean_interval(values)
    quantiles = {
        "n": float(len(values)),
        "median": float(values.quantile(0.5)),
        f"p{round(100 * worst):02d}": float(values.quantile(worst)),
    }
    return MetricValue(float(values.mean()), low, high, {**quantiles, **details}, values.tolist(), info)
