"""Comparisons of feature distributions by torch-fidelity's own functions: FID, KID, precision and recall."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections import OrderedDict
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import one_hot
from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, KEY_METRIC_KID_STD, kid_features_to_metric
from torch_fidelity.metric_prc import KEY_METRIC_PRECISION, KEY_METRIC_RECALL, prc_features_to_metric

from bnsbench.errors import NotApplicableError
from bnsbench.flows.model import Reference
from bnsbench.metrics.audio import mono
from bnsbench.metrics.base import MetricValue, SampleSet
from bnsbench.metrics.extractors import Extractor, extractor_for, to_uint8
from bnsbench.metrics.sound_extractors import sound_extractor

SAMPLES_PER_FEATURE = 15
"""Below 15 samples per feature the covariances' noise dominates the distance."""
KID_SUBSETS, KID_SUBSET, KID_LEAST = 100, 1000, 100
NEIGHBOURS, NEIGHBOURS_LEAST = 3, 250
"""Of fewer samples, the third nearest neighbours lie so far away that nearly everything is near."""


class FeatureCache:
    """Features of recent image sets in memory, found by the images' content and the extractor."""

    def __init__(self, size: int = 16) -> None:
        self._size = size
        self._entries: OrderedDict[tuple[str, str], Tensor] = OrderedDict()

    def features(self, extractor: Extractor, images: Tensor) -> Tensor:
        """Return the features of samples, computing them once while they are among the most recent sets."""
        content = images.cpu().contiguous().numpy()
        key = extractor.fingerprint, hashlib.sha256(content.tobytes() + str(content.shape).encode()).hexdigest()
        if key not in self._entries:
            self._entries[key] = extractor.features(images)
        self._entries.move_to_end(key)
        while len(self._entries) > self._size:
            self._entries.popitem(last=False)
        return self._entries[key]


_CACHE = FeatureCache()


def frechet_distance(features: Tensor, other: Tensor) -> float:
    """Return |mu_1 - mu_2|^2 + tr(S_1 + S_2 - 2 (S_1 S_2)^1/2) of two sets of features [n, width], [m, width]."""
    metric = fid_statistics_to_metric(fid_features_to_statistics(features), fid_features_to_statistics(other), False)
    return float(metric[KEY_METRIC_FID])


class FeatureMetric(ABC):
    """A comparison of the features of all samples with those of the data set or of the ground-truth samples.

    to: "data" or "truth". weights: path of Inception-v3's weights, needed for RGB images that no embedded extractor knows.
    minimum: fewest samples accepted; 0 stands for the metric's own rule.
    Details: the number of samples and of reference images, the feature width and what `compare` adds.
    Raises NotApplicableError for too few samples, samples without an extractor or models without data, DivergedError for
    samples that are not finite.
    """

    def __init__(self, to: Literal["data", "truth"] = "data", weights: str = "", minimum: int = 0) -> None:
        self.to = to
        self.weights = weights
        self.minimum = minimum

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
        features = extractor.features(self.prepared(samples.samples))
        real = self._reference(samples)
        reference = _CACHE.features(extractor, self.prepared(real.samples))
        value, further = self.compare(features, reference)
        details = {"n": float(len(features)), "reference_n": float(len(reference)), "width": float(extractor.width)}
        details |= further
        if self.to == "data":
            details |= self.floor(reference, real.labels, len(features))
        return MetricValue(value, details=details, info={"extractor": extractor.fingerprint})

    def extractor(self, samples: SampleSet) -> Extractor:
        """Return what extracts the features."""
        return extractor_for(tuple(samples.samples.shape[1:]), self.weights, samples.model.extractor)

    def prepared(self, values: Tensor) -> Tensor:
        """Return samples as the extractor takes them."""
        return to_uint8(values)

    def floor(self, reference: Tensor, labels: Tensor | None, n: int) -> dict[str, float]:
        """Return as ``floor`` what as many real images as there are samples score against the rest of the data set."""
        chosen, others = deal(reference, labels, n)
        return {"floor": self.compare(chosen, others)[0]}

    def _reference(self, samples: SampleSet) -> Reference:
        if self.to == "truth":
            return Reference(samples.truth)
        reference = samples.model.reference()
        if reference is None:
            raise NotApplicableError("The model offers no data set, so a comparison with the data is not defined.")
        return reference

    def _require_enough(self, n: int, width: int) -> None:
        least = self.minimum or self.least(width)
        if n < max(least, 2):
            raise NotApplicableError(
                f"{type(self).__name__} in {width} features needs at least {least} samples, not {n}: "
                f"raise the number of samples or set minimum."
            )


class FrechetDistance(FeatureMetric):
    """The Frechet distance of two sets of features (FID, Heusel et al. 2017); it needs 15 samples per feature."""

    def least(self, width: int) -> int:
        return SAMPLES_PER_FEATURE * width

    def compare(self, features: Tensor, reference: Tensor) -> tuple[float, dict[str, float]]:
        return frechet_distance(features, reference), {}


class FrechetAudioDistance(FrechetDistance):
    """The Frechet distance of features of sound (FAD, Kilgour et al. 2019); ``weights`` is an exported network's file.

    Channels are averaged.
    """

    def extractor(self, samples: SampleSet) -> Extractor:
        return sound_extractor(samples, self.weights)

    def prepared(self, values: Tensor) -> Tensor:
        return mono(values.cpu().float())


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
    ) -> None:
        super().__init__(to, weights, minimum)
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


def fid(weights: str = "", minimum: int = 0) -> FrechetDistance:
    """Return the Frechet distance to the data set."""
    return FrechetDistance("data", weights, minimum)


def fid_gt(weights: str = "", minimum: int = 0) -> FrechetDistance:
    """Return the Frechet distance to the ground-truth samples, which ranks solvers where the model itself is imperfect."""
    return FrechetDistance("truth", weights, minimum)


def fad(network: str = "", minimum: int = 0) -> FrechetAudioDistance:
    """Return the Frechet audio distance to the data set."""
    return FrechetAudioDistance("data", network, minimum)


def fad_gt(network: str = "", minimum: int = 0) -> FrechetAudioDistance:
    """Return the Frechet audio distance to the ground-truth samples."""
    return FrechetAudioDistance("truth", network, minimum)


def kid(weights: str = "", minimum: int = 0) -> KernelDistance:
    """Return the kernel distance to the data set."""
    return KernelDistance("data", weights, minimum)


def kid_gt(weights: str = "", minimum: int = 0) -> KernelDistance:
    """Return the kernel distance to the ground-truth samples."""
    return KernelDistance("truth", weights, minimum)


def precision(weights: str = "", minimum: int = 0) -> PrecisionRecall:
    """Return the share of samples that lie among the data."""
    return PrecisionRecall("precision", "data", weights, minimum)


def recall(weights: str = "", minimum: int = 0) -> PrecisionRecall:
    """Return the share of the data that lies among the samples."""
    return PrecisionRecall("recall", "data", weights, minimum)
