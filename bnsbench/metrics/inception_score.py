"""The Inception Score, by torch-fidelity's own function: how surely samples belong to a class, and to how many classes."""

from __future__ import annotations

import torch
from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, KEY_METRIC_ISC_STD, isc_features_to_metric

from bnsbench.errors import NotApplicableError, UsageError
from bnsbench.metrics.base import MetricValue, SampleSet
from bnsbench.metrics.extractors import extractor_for, to_uint8

SAMPLES_PER_CLASS = 4
"""In every part; the paper's 50,000 images in ten parts are five for each of ImageNet's classes."""


class InceptionScore:
    """The Inception Score exp(E KL(p(y|x) || p(y))) (Salimans et al. 2016, section 4), from 1 to the number of classes.

    The mean over ``splits`` parts of the samples in random order, with their standard deviation among the details. It needs
    neither data nor ground truth. weights: path of Inception-v3's weights, needed for RGB images that no embedded classifier
    knows. minimum: fewest samples accepted; 0 stands for four per class in every part.
    Raises NotApplicableError for too few samples or samples whose classes no extractor knows, DivergedError for samples that
    are not finite.
    """

    def __init__(self, weights: str = "", minimum: int = 0, splits: int = 10) -> None:
        if splits < 1:
            raise UsageError(f"The Inception Score needs at least one part, so splits cannot be {splits}.")
        self.weights = weights
        self.minimum = minimum
        self.splits = splits

    def __call__(self, samples: SampleSet) -> MetricValue:
        samples.require_finite()
        extractor = extractor_for(samples.form, self.weights, samples.model.extractor, "logits")
        least = max(self.minimum or SAMPLES_PER_CLASS * extractor.width * self.splits, self.splits)
        if len(samples) < least:
            raise NotApplicableError(
                f"The Inception Score of {extractor.width} classes in {self.splits} parts needs at least {least} samples,"
                f" not {len(samples)}: raise the number of samples or set minimum."
            )
        logits = torch.cat([extractor.features(to_uint8(part.samples)) for part in samples.parts()])
        found = isc_features_to_metric(logits, splits=self.splits)
        details = {
            "n": float(len(samples)),
            "classes": float(extractor.width),
            "splits": float(self.splits),
            "split_deviation": float(found[KEY_METRIC_ISC_STD]),
        }
        return MetricValue(float(found[KEY_METRIC_ISC_MEAN]), details=details, info={"extractor": extractor.fingerprint})
