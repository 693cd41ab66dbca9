"""Density and coverage (Naeem et al. 2020): fidelity and variety of samples by neighbourhoods of the reference alone."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from bnsbench.metrics import resampling
from bnsbench.metrics.neighbourhoods import NeighbourhoodMetric
from bnsbench.metrics.references import RealFeatures

NEIGHBOURS = 5
"""The paper's k."""


class DensityCoverage(NeighbourhoodMetric[Literal["density", "coverage"]]):
    """Density (how many neighbourhoods a sample lies in) or coverage (share of neighbourhoods that hold a sample).

    The neighbourhood of a point of the reference is the open ball that its fifth nearest neighbour in the reference bounds;
    density is the mean number of them around a sample, divided by five (Naeem et al. 2020, section 3.1). Against itself a
    set has density 1 and coverage 1. Density is not bounded by 1, and samples that crowd where the data are dense exceed
    it, so it is to be read beside coverage; equal samples raise DivergedError there. To the ground truth, a sample is
    compared with all but its own, near which it lies however the others are distributed.

    Args:
        which: "density" or "coverage".
        to: "data" or "truth", the ground-truth samples.
        weights: Path of Inception-v3's weights, needed for RGB images of models without own features.
        minimum: Fewest samples accepted; 0 stands for the metric's own rule.
        data: A folder or file of real samples; "" for the model's own data set.

    Raises:
        UsageError: If a file is not there.
    """

    fewest = NEIGHBOURS + 2
    of_fidelity = "density"

    def compare(self, features: Tensor, reference: Tensor) -> tuple[float, dict[str, float]]:
        every = torch.ones(1, len(features), dtype=torch.float64)
        found = float(self._of_drawn(features, reference, every))
        # The ground truth's own score against itself, which a sample set can exceed in density.
        return found, {"truth": 1.0} if self.to == "truth" else {}

    def resampled(self, features: Tensor, real: RealFeatures) -> Tensor | str:
        n, m = len(features), len(real.features)
        if n * m + m * m > resampling.MOST_PAIRS:
            return f"distances of {n} samples and {m} real ones take too long"
        return self._of_drawn(features, real.features, resampling.weights(n))

    def _of_drawn(self, features: Tensor, reference: Tensor, drawn: Tensor) -> Tensor:
        compute = resampling.densities if self.which == "density" else resampling.coverages
        return compute(features, reference, drawn, NEIGHBOURS, paired=self.to == "truth")


def density(weights: str = "", minimum: int = 0, data: str = "") -> DensityCoverage:
    """Return the metric density, how many neighbourhoods of the data a sample lies in.

    Args:
        weights: Path of Inception-v3's weights, needed for RGB images of models without own features.
        minimum: Fewest samples accepted; 0 stands for the metric's own rule.
        data: A folder or file of real samples; "" for the model's own data set.
    """
    return DensityCoverage("density", "data", weights, minimum, data)


def density_gt(weights: str = "", minimum: int = 0) -> DensityCoverage:
    """Return density in neighbourhoods of the ground-truth samples."""
    return DensityCoverage("density", "truth", weights, minimum)


def coverage(weights: str = "", minimum: int = 0, data: str = "") -> DensityCoverage:
    """Return the metric coverage, the share of the data's neighbourhoods that hold a sample.

    Args:
        weights: Path of Inception-v3's weights, needed for RGB images of models without own features.
        minimum: Fewest samples accepted; 0 stands for the metric's own rule.
        data: A folder or file of real samples; "" for the model's own data set.
    """
    return DensityCoverage("coverage", "data", weights, minimum, data)


def coverage_gt(weights: str = "", minimum: int = 0) -> DensityCoverage:
    """Return coverage of the ground-truth samples."""
    return DensityCoverage("coverage", "truth", weights, minimum)
