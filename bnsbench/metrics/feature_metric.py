"""The base of all comparisons of feature distributions: features, enough of them, the truth's own score, replicates."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from bnsbench.errors import DivergedError, NotApplicableError, UsageError
from bnsbench.metrics.base import MetricValue, SampleSet, finite
from bnsbench.metrics.contents import content_hash, joint_hash
from bnsbench.metrics.extractors import Extractor, extractor_for, to_uint8
from bnsbench.metrics.real_data import RealData, open_images, real_files
from bnsbench.metrics.recent import Recent
from bnsbench.metrics.references import RealFeatures, features_of, features_of_files, features_of_samples, features_of_truth
from bnsbench.metrics.resampling import FEWEST
from bnsbench.storage.names import is_file, is_there

SCORES_KEPT = 64
"""Scores of data and of ground truth that a metric remembers, which depend on the number of samples alone."""


class FeatureMetric(ABC):
    """A comparison of the features of all samples with those of the data set or of the ground-truth samples.

    A value's details are the number of samples and of real ones, the feature width and what `judge` adds; of comparisons
    with the data also ``truth``, the score of the ground-truth samples, and ``floor``, see `floor`. Its replicates come from
    `resampled`; where there are none, info says why under ``replicates``.

    It may raise, when called: UsageError for data that are not like the samples; NotApplicableError for too few samples,
    samples without an extractor or models without data; DivergedError for samples that are not finite or whose features are
    not.

    Args:
        to: "data" or "truth", the ground-truth samples.
        weights: Path of Inception-v3's weights, needed for RGB images of models without own features.
        minimum: Fewest samples accepted; 0 stands for the metric's own rule.
        data: A folder or file of real samples; "" for the model's own data set. See `bnsbench.metrics.real_data`.

    Raises:
        UsageError: If a file is not there.
    """

    knows_statistics = False
    weights_kind = "Inception-v3 weights file"
    data_kind = "images"
    fewest = 2
    """The fewest samples, and real samples, for which the metric is defined."""

    def __init__(self, to: Literal["data", "truth"] = "data", weights: str = "", minimum: int = 0, data: str = "") -> None:
        if weights and self.weights_kind and not is_file(weights):
            raise UsageError(f"There is no {self.weights_kind} {weights}: give its path, or choose metrics without it.")
        if data and not is_there(data):
            raise UsageError(f"There is no file or folder {data} of real samples.")
        self.to = to
        self.weights = weights
        self.minimum = minimum
        self.data = data
        self._floors: Recent[dict[str, float]] = Recent(SCORES_KEPT)
        self._truths: Recent[float] = Recent(SCORES_KEPT)

    @abstractmethod
    def least(self, width: int) -> int:
        """Return the fewest samples whose features of that width the metric can judge."""

    @abstractmethod
    def compare(self, features: Tensor, reference: Tensor) -> tuple[float, dict[str, float]]:
        """Return the value for features [n, width] against a reference [m, width], and further numbers."""

    def resampled(self, features: Tensor, real: RealFeatures) -> Tensor | str:
        """Return the values for resampled features, see `bnsbench.metrics.resampling`, or the reason why there are none."""
        del features, real
        return "the metric has none"

    def __call__(self, samples: SampleSet) -> MetricValue:
        samples.require_finite()
        extractor = self.extractor(samples)
        self._require_enough(len(samples), extractor.width)
        real = self._real(samples, extractor)
        made = features_of_samples(extractor, samples, self.prepared)
        self.check(made)
        value, further = self.judge(made, real)
        if not math.isfinite(value):
            raise DivergedError(f"{type(self).__name__} of the features of {len(samples)} samples is not finite.")
        details = {"n": float(len(samples)), "width": float(extractor.width), **further}
        if self.to == "data":
            details |= {"truth": self._of_truth(samples, extractor, real), **self._floor(real, len(samples))}
        replicates, info = self._replicates(made, real)
        info |= {"extractor": extractor.fingerprint, **real.info}
        return MetricValue(value, details=details, info=info, replicates=replicates)

    def judge(self, features: Tensor, real: RealFeatures) -> tuple[float, dict[str, float]]:
        """Return the value for features [n, width] against real ones, and further numbers."""
        value, further = self.compare(features, real.features)
        return value, {"reference_n": float(len(real.features)), **further}

    def check(self, features: Tensor) -> None:
        """Raise DivergedError for features [n, width] of degenerate samples that the metric would reward."""
        finite(features, "samples' features")

    def extractor(self, samples: SampleSet) -> Extractor:
        """Return the feature extractor."""
        return extractor_for(samples.model, samples.form, self.weights)

    def prepared(self, values: Tensor) -> Tensor:
        """Return samples as the extractor takes them: images as bytes, others as they are."""
        return to_uint8(values) if values.ndim == 4 else values

    def real_data(self, samples: SampleSet) -> RealData:
        """Return the real samples in the folder or file ``data``."""
        if len(samples.form) != 3:
            raise NotApplicableError(f"Real samples in files are images, and the model's are of shape {samples.form}.")
        return open_images(self.data, samples.form)

    def fingerprint(self) -> str:
        """Return a hash of the files that it depends on, see `bnsbench.metrics.contents.files_fingerprint`."""
        return joint_hash({"weights": self.weights_hash(), "data": self._data_hash()})

    def weights_hash(self) -> str:
        """Return the hash of the weights' file."""
        return content_hash(Path(self.weights), (Path(self.weights),)) if self.weights else ""

    def floor(self, reference: Tensor, labels: Tensor | None, n: int) -> dict[str, float]:
        """Return as ``floor`` the score of real images against the rest of their data set, the best that samples can expect.

        Args:
            reference: Features of the data set [m, width].
            labels: Their classes [m], or None.
            n: The number of images that stand for samples; at most half of the data set is taken.
        """
        chosen, others = deal(reference, labels, n)
        return {"floor": self.compare(chosen, others)[0]}

    def _data_hash(self) -> str:
        source = Path(self.data)
        return content_hash(source, real_files(source, self.data_kind)) if self.data else ""

    def _floor(self, real: RealFeatures, n: int) -> dict[str, float]:
        # It depends on the number of samples alone, and of many wide features takes as long as the value itself.
        if min(n, len(real.features) // 2) < self.fewest:
            return {}
        return self._floors.get((real.key, n), lambda: self.floor(real.features, real.labels, n))

    def _of_truth(self, samples: SampleSet, extractor: Extractor, real: RealFeatures) -> float:
        truth = features_of_truth(extractor, samples, self.prepared)
        finite(truth.features, "ground-truth samples' features")
        return self._truths.get((real.key, truth.key), lambda: self.judge(truth.features, real)[0])

    def _replicates(self, made: Tensor, real: RealFeatures) -> tuple[list[float] | None, dict[str, str]]:
        found = self.resampled(made, real) if len(made) >= FEWEST else f"there are fewer than {FEWEST} samples"
        if isinstance(found, str):
            return None, {"replicates": f"none, for {found}"}
        return found.tolist(), {}

    def _real(self, samples: SampleSet, extractor: Extractor) -> RealFeatures:
        real = self._found(samples, extractor)
        if len(real.features) < self.fewest and real.statistics is None:
            raise NotApplicableError(
                f"{type(self).__name__} needs at least {self.fewest} real samples, and there are {len(real.features)}."
            )
        bad = int((~real.features.isfinite().all(dim=1)).sum())
        if bad and self.to == "data":
            raise UsageError(f"The features of {bad} of {len(real.features)} real samples are not finite.")
        finite(real.features, "ground-truth samples' features")
        return real

    def _found(self, samples: SampleSet, extractor: Extractor) -> RealFeatures:
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
        least = max(self.minimum or self.least(width), self.fewest)
        if n < least:
            raise NotApplicableError(
                f"{type(self).__name__} in {width} features needs at least {least} samples, not {n}: "
                f"raise the number of samples or set minimum."
            )


def deal(features: Tensor, labels: Tensor | None, n: int) -> tuple[Tensor, Tensor]:
    """Return a random part of the data set that stands for perfect samples, and the rest of it.

    Args:
        features: Of the data set [m, width].
        labels: Its classes [m], from which the part is drawn evenly, as conditional samples are; None without classes.
        n: The size of the part, at most half of the data set.

    Returns:
        The features of the part and those of the rest.
    """
    order = torch.randperm(len(features), generator=torch.Generator().manual_seed(0))
    if labels is not None:
        members = one_hot(labels[order])
        # An image's turn is its rank within its class; sorting by turns deals the classes out evenly.
        turns = (members.cumsum(dim=0) * members).sum(dim=1)
        order = order[torch.argsort(turns, stable=True)]
    n = min(n, len(features) // 2)
    return features[order[:n]], features[order[n:]]
