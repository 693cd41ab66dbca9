"""Frechet distances between feature distributions (FID, Heusel et al. 2017), by torch-fidelity's own functions."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import one_hot
from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric

from bnsbench.errors import NotApplicableError
from bnsbench.flows.model import Reference
from bnsbench.metrics.base import MetricValue, SampleSet
from bnsbench.metrics.extractors import Extractor, extractor_for, to_uint8

SAMPLES_PER_FEATURE = 15
"""Below 15 samples per feature the covariances' noise dominates the distance."""


class FeatureCache:
    """Features of recent image sets in memory, found by the images' content and the extractor."""

    def __init__(self, size: int = 16) -> None:
        self._size = size
        self._entries: OrderedDict[tuple[str, str], Tensor] = OrderedDict()

    def features(self, extractor: Extractor, images: Tensor) -> Tensor:
        """Return the features of uint8 images, computing them once while they are among the most recent sets."""
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


class FrechetDistance:
    """The Frechet distance of the decoded samples to the data set or to the ground-truth samples.

    to: "data" or "truth". weights: path of Inception-v3's weights, needed for RGB images only.
    minimum: fewest samples accepted; 0 stands for 15 times the feature width.
    Details: the number of samples and of reference images, the feature width and, for "data", the real-vs-real ``floor``
    of as many real images against the rest of the data set (at most half of it).
    Raises NotApplicableError for too few samples, samples without an extractor or models without data.
    """

    def __init__(self, to: Literal["data", "truth"], weights: str = "", minimum: int = 0) -> None:
        self.to = to
        self.weights = weights
        self.minimum = minimum

    def __call__(self, samples: SampleSet) -> MetricValue:
        samples.require_finite()
        extractor = extractor_for(tuple(samples.samples.shape[1:]), self.weights)
        self._require_enough(len(samples), extractor.width)
        features = extractor.features(to_uint8(samples.samples))
        real = self._reference(samples)
        reference = _CACHE.features(extractor, to_uint8(real.samples))
        details = {"n": float(len(features)), "reference_n": float(len(reference)), "width": float(extractor.width)}
        if self.to == "data":
            details["floor"] = real_floor(reference, real.labels, len(features))
        return MetricValue(frechet_distance(features, reference), details=details, info={"extractor": extractor.fingerprint})

    def _reference(self, samples: SampleSet) -> Reference:
        if self.to == "truth":
            return Reference(samples.truth)
        reference = samples.model.reference()
        if reference is None:
            raise NotApplicableError("The model offers no data set, so the distance to the data is not defined.")
        return reference

    def _require_enough(self, n: int, width: int) -> None:
        least = self.minimum or SAMPLES_PER_FEATURE * width
        if n < max(least, 2):
            raise NotApplicableError(
                f"A Frechet distance in {width} features needs at least {least} samples, not {n}: "
                f"raise the number of samples or set minimum."
            )


def real_floor(features: Tensor, labels: Tensor | None, n: int) -> float:
    """Return the distance of n random real images (at most half of them) to the others: what perfect samples would score.

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
    return frechet_distance(features[order[:n]], features[order[n:]])


def fid(weights: str = "", minimum: int = 0) -> FrechetDistance:
    """Return the Frechet distance to the data set."""
    return FrechetDistance("data", weights, minimum)


def fid_gt(weights: str = "", minimum: int = 0) -> FrechetDistance:
    """Return the Frechet distance to the ground-truth samples, which ranks solvers where the model itself is imperfect."""
    return FrechetDistance("truth", weights, minimum)
