"""Comparisons of feature distributions by torch-fidelity's own functions: FID, KID, precision and recall."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy import float64
from numpy.typing import NDArray
from torch import Tensor
from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, KEY_METRIC_KID_STD, kid_features_to_metric
from torch_fidelity.metric_prc import KEY_METRIC_PRECISION, KEY_METRIC_RECALL, prc_features_to_metric

from bnsbench.contract.programs import allowed_programs, read_program
from bnsbench.metrics import resampling
from bnsbench.metrics.audio import mono, sample_rate
from bnsbench.metrics.base import SampleSet
from bnsbench.metrics.extractors import Extractor
from bnsbench.metrics.feature_metric import FeatureMetric
from bnsbench.metrics.neighbourhoods import NeighbourhoodMetric
from bnsbench.metrics.real_data import RealData, SoundFolder
from bnsbench.metrics.recent import Recent
from bnsbench.metrics.references import RealFeatures
from bnsbench.metrics.sound_extractors import sound_extractor

SAMPLES_PER_FEATURE = 15
"""Below 15 samples per feature the covariances' noise dominates the distance."""
KID_SUBSETS, KID_SUBSET, KID_LEAST = 100, 1000, 100
NEIGHBOURS = 3
"""Of precision and recall."""
WHOLE_NUMBERS = 2**26
"""Features whose moments are computed at once, with two copies of them in float64; those of more in parts."""
ROWS = 4096
"""Rows of such a part."""
MOMENTS_KEPT = 4
"""Sets of references whose moments, of all resamples, a Frechet distance remembers: up to 50 MB each."""


def frechet_distance(features: Tensor, other: Tensor) -> float:
    """Return |mu_1 - mu_2|^2 + tr(S_1 + S_2 - 2 (S_1 S_2)^1/2) of features [n, width] and [m, width], in float64."""
    return distance_to_statistics(features, _statistics(other))


def distance_to_statistics(features: Tensor, statistics: Mapping[str, NDArray[float64]]) -> float:
    """Return the Frechet distance of features [n, width] to those of which ``mu`` and ``sigma`` are known, in float64."""
    found = float(fid_statistics_to_metric(_statistics(features), statistics, False)[KEY_METRIC_FID])
    return max(found, 0.0)  # where it is below, by rounding


def _statistics(features: Tensor) -> dict[str, Any]:
    if features.numel() > WHOLE_NUMBERS:
        return statistics_in_parts(features)
    found = fid_features_to_statistics(features.double())
    return {"mu": found["mu"], "sigma": np.atleast_2d(found["sigma"])}  # numpy's covariance of one feature has no rows


def statistics_in_parts(features: Tensor) -> dict[str, Any]:
    """Return mean ``mu`` and covariance ``sigma`` of features [n, width] as sums over parts of the rows, in float64."""
    parts = torch.split(features, ROWS)
    mean = torch.stack([part.double().sum(0) for part in parts]).sum(0) / len(features)
    scatter = torch.zeros(features.shape[1], features.shape[1], dtype=torch.float64)
    for part in parts:
        off = part.double() - mean
        scatter += off.T @ off
    return {"mu": mean.numpy(), "sigma": (scatter / (len(features) - 1)).numpy()}


class FrechetDistance(FeatureMetric):
    """The Frechet distance of two sets of features (FID, Heusel et al. 2017); it needs 15 samples per feature.

    Data with published statistics, mean and covariance, do without real samples; with both, the value is the distance to
    the real samples, and the one to the statistics is among the details as ``to_statistics``. Samples without variety have
    the distance that the formula gives, in which their covariance is zero.

    Args:
        to: "data" or "truth", the ground-truth samples.
        weights: Path of Inception-v3's weights, needed for RGB images of models without own features.
        minimum: Fewest samples accepted; 0 stands for 15 per feature.
        data: A folder or file of real samples or statistics; "" for the model's own data set.

    Raises:
        UsageError: If a file is not there.
    """

    knows_statistics = True

    def __init__(self, to: Literal["data", "truth"] = "data", weights: str = "", minimum: int = 0, data: str = "") -> None:
        super().__init__(to, weights, minimum, data)
        self._moments: Recent[resampling.Moments] = Recent(MOMENTS_KEPT)

    def least(self, width: int) -> int:
        return SAMPLES_PER_FEATURE * width

    def compare(self, features: Tensor, reference: Tensor) -> tuple[float, dict[str, float]]:
        return frechet_distance(features, reference), {}

    def judge(self, features: Tensor, real: RealFeatures) -> tuple[float, dict[str, float]]:
        if real.statistics is None:
            return super().judge(features, real)
        published = distance_to_statistics(features, real.statistics)
        if not len(real.features):
            return published, {}
        value, further = super().judge(features, real)
        return value, {**further, "to_statistics": published}

    def resampled(self, features: Tensor, real: RealFeatures) -> Tensor | str:
        n, width = features.shape
        if width > resampling.WIDEST:
            return f"a hundred distances of {width} features take too long"
        drawn = resampling.weights(n)
        others = self._moments.get((real.key, n), lambda: resampling.factored(self._of_real(real, drawn)))
        return resampling.frechet_distances(resampling.moments(features, drawn), others)

    def _of_real(self, real: RealFeatures, drawn: Tensor) -> resampling.Moments:
        if real.statistics is not None and not len(real.features):
            return torch.from_numpy(real.statistics["mu"])[None], torch.from_numpy(real.statistics["sigma"])[None]
        return resampling.moments(real.features, drawn if self.to == "truth" else None)


class FrechetAudioDistance(FrechetDistance):
    """The Frechet distance of features of sound (FAD, Kilgour et al. 2019); channels are averaged.

    Args:
        to: "data" or "truth", the ground-truth samples.
        weights: An exported network's file, which is a program: it must be allowed where the metric is made, see
            `bnsbench.contract.programs`.
        minimum: Fewest samples accepted; 0 stands for 15 per feature.
        data: A folder of real samples; "" for the model's own data set.

    Raises:
        UsageError: If a file is not there, or the network is not allowed.
    """

    weights_kind = "network file"
    data_kind = "sounds"

    def __init__(self, to: Literal["data", "truth"] = "data", weights: str = "", minimum: int = 0, data: str = "") -> None:
        super().__init__(to, weights, minimum, data)
        self._allowed = allowed_programs()
        if weights and self.weights_kind:  # which a subclass that reads tensors of a checkpoint has not
            read_program(Path(weights), self._allowed)

    def extractor(self, samples: SampleSet) -> Extractor:
        return sound_extractor(samples, self.weights, self._allowed)

    def prepared(self, values: Tensor) -> Tensor:
        return mono(values.cpu().float())

    def real_data(self, samples: SampleSet) -> RealData:
        return SoundFolder(Path(self.data), (samples.form[-1], sample_rate(samples)))


class KernelDistance(FeatureMetric):
    """The squared maximum mean discrepancy under a cubic kernel (KID, Binkowski et al. 2018), unbiased, so also below 0.

    It is a mean over random subsets of at most 1,000 samples; their standard deviation is among the details. Of two values
    below 0 the lower is not better: both say that no difference is seen. Samples without variety have the formula's value.
    """

    def least(self, width: int) -> int:
        del width
        return KID_LEAST

    def compare(self, features: Tensor, reference: Tensor) -> tuple[float, dict[str, float]]:
        size = min(KID_SUBSET, len(features), len(reference))
        found = kid_features_to_metric(features, reference, kid_subsets=KID_SUBSETS, kid_subset_size=size, verbose=False)
        return float(found[KEY_METRIC_KID_MEAN]), {
            "subset": float(size),
            "subset_deviation": float(found[KEY_METRIC_KID_STD]),
        }

    def resampled(self, features: Tensor, real: RealFeatures) -> Tensor | str:
        n, m = len(features), len(real.features)
        if n * n + n * m + m * m > resampling.MOST_PAIRS:
            return f"kernels of {n} samples and {m} real ones take too long"
        return resampling.kernel_replicates(features, real.features, paired=self.to == "truth")


class PrecisionRecall(NeighbourhoodMetric[Literal["precision", "recall"]]):
    """Improved precision (share of samples near the reference) or recall (share of the reference near the samples).

    Near is within the distance of the third nearest neighbour (Kynkaanniemi et al. 2019). Copies of one good sample would
    have precision 1, so equal samples raise DivergedError there; they have recall 0 or nearly so. Few different samples
    still have a high precision, which is to be read beside recall.

    Args:
        which: "precision" or "recall".
        to: "data" or "truth", the ground-truth samples.
        weights: Path of Inception-v3's weights, needed for RGB images of models without own features.
        minimum: Fewest samples accepted; 0 stands for the metric's own rule.
        data: A folder or file of real samples; "" for the model's own data set.

    Raises:
        UsageError: If a file is not there.
    """

    fewest = NEIGHBOURS + 1
    of_fidelity = "precision"

    def compare(self, features: Tensor, reference: Tensor) -> tuple[float, dict[str, float]]:
        found = prc_features_to_metric(
            features, reference, prc_neighborhood=NEIGHBOURS, prc_batch_size=10_000, save_cpu_ram=True, verbose=False
        )
        precision, recall = float(found[KEY_METRIC_PRECISION]), float(found[KEY_METRIC_RECALL])
        return precision if self.which == "precision" else recall, {}

    def resampled(self, features: Tensor, real: RealFeatures) -> Tensor | str:
        n, m = len(features), len(real.features)
        if n * n + n * m + m * m > resampling.MOST_PAIRS:
            return f"distances of {n} samples and {m} real ones take too long"
        compute = resampling.precision_replicates if self.which == "precision" else resampling.recall_replicates
        return compute(features, real.features, NEIGHBOURS)


def fid(weights: str = "", minimum: int = 0, data: str = "") -> FrechetDistance:
    """Return the Frechet distance to the data set, the model's own or the one in ``data``.

    Args:
        weights: Path of Inception-v3's weights, needed for RGB images of models without own features.
        minimum: Fewest samples accepted; 0 stands for 15 per feature.
        data: A folder or file of real samples or statistics; "" for the model's own data set.
    """
    return FrechetDistance("data", weights, minimum, data)


def fid_gt(weights: str = "", minimum: int = 0) -> FrechetDistance:
    """Return the Frechet distance to the ground-truth samples, which ranks solvers where the model itself is imperfect."""
    return FrechetDistance("truth", weights, minimum)


def fad(network: str = "", minimum: int = 0, data: str = "") -> FrechetAudioDistance:
    """Return the Frechet audio distance to the data set, the model's own or the one in ``data``.

    Args:
        network: An exported network's file, a program that `--allow-program` has to allow; "" for the model's own features.
        minimum: Fewest samples accepted; 0 stands for 15 per feature.
        data: A folder of WAV files; "" for the model's own data set.
    """
    return FrechetAudioDistance("data", network, minimum, data)


def fad_gt(network: str = "", minimum: int = 0) -> FrechetAudioDistance:
    """Return the Frechet audio distance to the ground-truth samples."""
    return FrechetAudioDistance("truth", network, minimum)


def kid(weights: str = "", minimum: int = 0, data: str = "") -> KernelDistance:
    """Return the kernel distance to the data set, the model's own or the one in ``data``.

    Args:
        weights: Path of Inception-v3's weights, needed for RGB images of models without own features.
        minimum: Fewest samples accepted; 0 stands for the metric's own rule.
        data: A folder or file of real samples; "" for the model's own data set.
    """
    return KernelDistance("data", weights, minimum, data)


def kid_gt(weights: str = "", minimum: int = 0) -> KernelDistance:
    """Return the kernel distance to the ground-truth samples."""
    return KernelDistance("truth", weights, minimum)


def precision(weights: str = "", minimum: int = 0, data: str = "") -> PrecisionRecall:
    """Return the metric precision, the share of samples that lie among the data.

    Args:
        weights: Path of Inception-v3's weights, needed for RGB images of models without own features.
        minimum: Fewest samples accepted; 0 stands for the metric's own rule.
        data: A folder or file of real samples; "" for the model's own data set.
    """
    return PrecisionRecall("precision", "data", weights, minimum, data)


def recall(weights: str = "", minimum: int = 0, data: str = "") -> PrecisionRecall:
    """Return the metric recall, the share of the data that lies among the samples.

    Args:
        weights: Path of Inception-v3's weights, needed for RGB images of models without own features.
        minimum: Fewest samples accepted; 0 stands for the metric's own rule.
        data: A folder or file of real samples; "" for the model's own data set.
    """
    return PrecisionRecall("recall", "data", weights, minimum, data)
