"""Comparisons of feature distributions by torch-fidelity's own functions: FID, KID, precision and recall."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from numpy import float64
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import one_hot
from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, KEY_METRIC_KID_STD, kid_features_to_metric
from torch_fidelity.metric_prc import KEY_METRIC_PRECISION, KEY_METRIC_RECALL, prc_features_to_metric

from bnsbench.errors import NotApplicableError, UsageError
from bnsbench.metrics.audio import mono, sample_rate
from bnsbench.metrics.base import MetricValue, SampleSet
from bnsbench.metrics.extractors import Extractor, extractor_for, to_uint8
from bnsbench.metrics.real_data import RealData, SoundFolder, open_images
from bnsbench.metrics.references import RealFeatures, features_of, features_of_files, features_of_truth
from bnsbench.metrics.sound_extractors import sound_extractor

SAMPLES_PER_FEATURE = 15
"""Below 15 samples per feature the covariances' noise dominates the distance."""
KID_SUBSETS, KID_SUBSET, KID_LEAST = 100, 1000, 100
NEIGHBOURS, NEIGHBOURS_LEAST = 3, 250
"""Of fewer samples, the third nearest neighbours lie so far away that nearly everything is near."""


def frechet_distance(features: Tensor, other: Tensor) -> float:
    """Return |mu_1 - mu_2|^2 + tr(S_1 + S_2 - 2 (S_1 S_2)^1/2) of two sets of features [n, width], [m, width]."""
    metric = fid_statistics_to_metric(fid_features_to_statistics(features), fid_features_to_statistics(other), False)
    return float(metric[KEY_METRIC_FID])


def distance_to_statistics(features: Tensor, statistics: Mapping[str, NDArray[float64]]) -> float:
    """Return the Frechet distance of features [n, width] to those of which ``mu`` and ``sigma`` are known, in float64."""
    return float(fid_statistics_to_metric(fid_features_to_statistics(features.double()), statistics, False)[KEY_METRIC_FID])


class FeatureMetric(ABC):
    """A comparison of the features of all samples with those of the data set or of the ground-truth samples.

    to: "data" or "truth". weights: path of Inception-v3's weights, needed for RGB images that no embedded extractor knows.
    minimum: fewest samples accepted; 0 stands for the metric's own rule.
    data: a folder or file of real samples in place of the model's own data set; see `bnsbench.metrics.real_data`.
    Details: the number of samples and of real ones, the feature width and what `judge` adds.
    Raises UsageError for files that are not there, as soon as it is made, and for data that are not like the samples,
    NotApplicableError for too few samples, samples without an extractor or models without data, DivergedError for samples
    that are not finite.
    """

    knows_statistics = False
    weights_kind = "Inception-v3 weights file"

    def __init__(self, to: Literal["data", "truth"] = "data", weights: str = "", minimum: int = 0, data: str = "") -> None:
        if weights and self.weights_kind and not Path(weights).is_file():
            raise UsageError(f"There is no {self.weights_kind} {weights}: give its path, or choose metrics without it.")
        if data and not Path(data).exists():
            raise UsageError(f"There is no file or folder {data} of real samples.")
        self.to = to
        self.weights = weights
        self.minimum = minimum
        self.data = data
        self._floors: dict[tuple[str, str, int], dict[str, float]] = {}

    @abstractmethod
    def least(self, width: int) -> int:
        """Return the fewest samples whose features of that width the metric can judge."""

    @abstractmethod
    def compare(self, features: Tensor, reference: Tensor) -> tuple[float, dict[str, float]]:
        """Return the value for features [n, width] against a reference [m, width], and further numbers."""

    def __call__(self, samples: SampleSet) -> MetricValue:
        samples.require_finite()
        extractor = self.extractor(samples)
        self._require_enough(len(samples), extractor.width)
        real = self._real(samples, extractor)
        made = torch.cat([extractor.features(self.prepared(part.samples)) for part in samples.parts()])
        value, further = self.judge(made, real)
        details = {"n": float(len(samples)), "width": float(extractor.width), **further}
        if self.to == "data" and len(real.features):
            details |= self._floor(real, extractor, len(samples))
        return MetricValue(value, details=details, info={"extractor": extractor.fingerprint, **real.info})

    def judge(self, features: Tensor, real: RealFeatures) -> tuple[float, dict[str, float]]:
        """Return the value for features [n, width] against real ones, and further numbers."""
        value, further = self.compare(features, real.features)
        return value, {"reference_n": float(len(real.features)), **further}

    def extractor(self, samples: SampleSet) -> Extractor:
        """Return what extracts the features."""
        return extractor_for(samples.form, self.weights, samples.model.extractor)

    def prepared(self, values: Tensor) -> Tensor:
        """Return samples as the extractor takes them."""
        return to_uint8(values)

    def real_data(self, samples: SampleSet) -> RealData:
        """Return the real samples in the folder or file ``data``."""
        return open_images(self.data, samples.form)

    def floor(self, reference: Tensor, labels: Tensor | None, n: int) -> dict[str, float]:
        """Return as ``floor`` what as many real images as there are samples score against the rest of the data set."""
        chosen, others = deal(reference, labels, n)
        return {"floor": self.compare(chosen, others)[0]}

    def _floor(self, real: RealFeatures, extractor: Extractor, n: int) -> dict[str, float]:
        # It depends on the number of samples alone, and of many wide features takes as long as the value itself.
        key = real.key, extractor.fingerprint, n
        if key not in self._floors:
            self._floors[key] = self.floor(real.features, real.labels, n)
        return self._floors[key]

    def _real(self, samples: SampleSet, extractor: Extractor) -> RealFeatures:
        if self.to == "truth":
            return features_of_truth(extractor, samples, self.prepared)
        if self.data:
            return self._real_in_files(samples, extractor)
        reference = samples.model.reference()
        if reference is None:
            raise NotApplicableError(
                "The model offers no data set, so a comparison with the data needs one: give data=FOLDER of real samples."
            )
        return features_of(extractor, self.prepared(reference.samples), reference.labels)

    def _real_in_files(self, samples: SampleSet, extractor: Extractor) -> RealFeatures:
        device = samples.latents.device
        found = features_of_files(extractor, self.real_data(samples), device, samples.cache, samples.progress)
        if not len(found.features) and not self.knows_statistics:
            raise NotApplicableError(
                f"{self.data} holds the mean and covariance of features alone, which define the Frechet distance only: for"
                f" {type(self).__name__} give real images, as a folder or as arr_0 in the file."
            )
        return found

    def _require_enough(self, n: int, width: int) -> None:
        least = self.minimum or self.least(width)
        if n < max(least, 2):
            raise NotApplicableError(
                f"{type(self).__name__} in {width} features needs at least {least} samples, not {n}: "
                f"raise the number of samples or set minimum."
            )


class FrechetDistance(FeatureMetric):
    """The Frechet distance of two sets of features (FID, Heusel et al. 2017); it needs 15 samples per feature.

    Data with published statistics, mean and covariance, do without real samples; with both, the value is the distance to
    the real samples, and the one to the statistics is among the details as ``to_statistics``.
    """

    knows_statistics = True

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


class FrechetAudioDistance(FrechetDistance):
    """The Frechet distance of features of sound (FAD, Kilgour et al. 2019); ``weights`` is an exported network's file.

    Channels are averaged.
    """

    weights_kind = "network file"

    def extractor(self, samples: SampleSet) -> Extractor:
        return sound_extractor(samples, self.weights)

    def prepared(self, values: Tensor) -> Tensor:
        return mono(values.cpu().float())

    def real_data(self, samples: SampleSet) -> RealData:
        return SoundFolder(Path(self.data), (samples.form[-1], sample_rate(samples)))


class KernelDistance(FeatureMetric):
    """The squared maximum mean discrepancy under a cubic kernel (KID, Binkowski et al. 2018), unbiased: perhaps below 0.

    A mean over random subsets of at most 1,000 samples; their standard deviation is among the details.
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


class PrecisionRecall(FeatureMetric):
    """Improved precision (share of samples near the reference) or recall (share of the reference near the samples).

    which: "precision" or "recall". Near is within the distance of the third nearest neighbour (Kynkaanniemi et al. 2019).
    """

    def __init__(
        self,
        which: Literal["precision", "recall"],
        to: Literal["data", "truth"] = "data",
        weights: str = "",
        minimum: int = 0,
        data: str = "",
    ) -> None:
        super().__init__(to, weights, minimum, data)
        self.which = which

    def least(self, width: int) -> int:
        del width
        return NEIGHBOURS_LEAST

    def compare(self, features: Tensor, reference: Tensor) -> tuple[float, dict[str, float]]:
        found = prc_features_to_metric(
            features, reference, prc_neighborhood=NEIGHBOURS, prc_batch_size=10_000, save_cpu_ram=True, verbose=False
        )
        precision, recall = float(found[KEY_METRIC_PRECISION]), float(found[KEY_METRIC_RECALL])
        return precision if self.which == "precision" else recall, {}


def deal(features: Tensor, labels: Tensor | None, n: int) -> tuple[Tensor, Tensor]:
    """Return n random real images (at most half of them) and the others, to say what perfect samples would score.

    features [m, width] and labels [m] are those of the data set; with labels, the n images are drawn evenly from the
    classes, as conditional samples are.
    """
    order = torch.randperm(len(features), generator=torch.Generator().manual_seed(0))
    if labels is not None:
        members = one_hot(labels[order])
        # An image's turn is its rank within its class; sorting by turns deals the classes out evenly.
        turns = (members.cumsum(dim=0) * members).sum(dim=1)
        order = order[torch.argsort(turns, stable=True)]
    n = min(n, len(features) // 2)
    return features[order[:n]], features[order[n:]]


def fid(weights: str = "", minimum: int = 0, data: str = "") -> FrechetDistance:
    """Return the Frechet distance to the data set, the model's own or the one in ``data``."""
    return FrechetDistance("data", weights, minimum, data)


def fid_gt(weights: str = "", minimum: int = 0) -> FrechetDistance:
    """Return the Frechet distance to the ground-truth samples, which ranks solvers where the model itself is imperfect."""
    return FrechetDistance("truth", weights, minimum)


def fad(network: str = "", minimum: int = 0, data: str = "") -> FrechetAudioDistance:
    """Return the Frechet audio distance to the data set."""
    return FrechetAudioDistance("data", network, minimum, data)


def fad_gt(network: str = "", minimum: int = 0) -> FrechetAudioDistance:
    """Return the Frechet audio distance to the ground-truth samples."""
    return FrechetAudioDistance("truth", network, minimum)


def kid(weights: str = "", minimum: int = 0, data: str = "") -> KernelDistance:
    """Return the kernel distance to the data set."""
    return KernelDistance("data", weights, minimum, data)


def kid_gt(weights: str = "", minimum: int = 0) -> KernelDistance:
    """Return the kernel distance to the ground-truth samples."""
    return KernelDistance("truth", weights, minimum)


def precision(weights: str = "", minimum: int = 0, data: str = "") -> PrecisionRecall:
    """Return the share of samples that lie among the data."""
    return PrecisionRecall("precision", "data", weights, minimum, data)


def recall(weights: str = "", minimum: int = 0, data: str = "") -> PrecisionRecall:
    """Return the share of the data that lies among the samples."""
    return PrecisionRecall("recall", "data", weights, minimum, data)
