"""The Inception Score, by torch-fidelity's own function: how surely samples belong to a class, and to how many classes."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor
from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, KEY_METRIC_ISC_STD, isc_features_to_metric

from bnsbench.errors import NotApplicableError, UsageError
from bnsbench.metrics.base import MetricValue, SampleSet, finite
from bnsbench.metrics.contents import content_hash, joint_hash
from bnsbench.metrics.extractors import extractor_for, to_uint8
from bnsbench.metrics.recent import Recent
from bnsbench.metrics.references import features_of_samples, features_of_truth
from bnsbench.metrics.resampling import FEWEST, inception_replicates

SAMPLES_PER_CLASS = 4
"""In every part; the paper's 50,000 images in ten parts are five for each of ImageNet's classes."""
SHUFFLE = 2020
"""torch-fidelity's own seed."""
SCORES_KEPT = 64


class InceptionScore:
    """The Inception Score exp(E KL(p(y|x) || p(y))) (Salimans et al. 2016, section 4), from 1 to the number of classes.

    It is the mean over parts of the samples in random order, with their standard deviation among the details, and the score
    of the ground-truth samples as ``truth``. It needs no data. Samples that are all the same have 1, the least. It may
    raise, when called: NotApplicableError for too few samples or samples whose classes no extractor knows; DivergedError for
    samples that are not finite.

    Args:
        weights: Path of Inception-v3's weights, needed for RGB images of models without own features.
        minimum: Fewest samples accepted; 0 stands for four per class in every part.
        splits: The number of parts, 1 or more.

    Raises:
        UsageError: If there is no part.
    """

    def __init__(self, weights: str = "", minimum: int = 0, splits: int = 10) -> None:
        if splits < 1:
            raise UsageError(f"The Inception Score needs at least one part, so splits cannot be {splits}.")
        self.weights = weights
        self.minimum = minimum
        self.splits = splits
        self._truths: Recent[float] = Recent(SCORES_KEPT)

    def __call__(self, samples: SampleSet) -> MetricValue:
        samples.require_finite()
        extractor = extractor_for(samples.model, samples.form, self.weights, "logits")
        least = max(self.minimum or SAMPLES_PER_CLASS * extractor.width * self.splits, self.splits)
        if len(samples) < least:
            raise NotApplicableError(
                f"The Inception Score of {extractor.width} classes in {self.splits} parts needs at least {least} samples,"
                f" not {len(samples)}: raise the number of samples or set minimum."
            )
        logits = features_of_samples(extractor, samples, to_uint8)
        value, deviation = self._score(finite(logits, "samples' predictions"))
        truth = features_of_truth(extractor, samples, to_uint8)
        details = {
            "n": float(len(samples)),
            "classes": float(extractor.width),
            "splits": float(self.splits),
            "split_deviation": deviation,
            "truth": self._truths.get(truth.key, lambda: self._score(truth.features)[0]),
        }
        replicates = inception_replicates(logits, self.splits, SHUFFLE) if len(logits) >= FEWEST else None
        info = {"extractor": extractor.fingerprint}
        return MetricValue(value, details=details, info=info, replicates=None if replicates is None else replicates.tolist())

    def fingerprint(self) -> str:
        """Return a hash of the weights' file, see `bnsbench.metrics.contents.files_fingerprint`."""
        return joint_hash({"weights": content_hash(Path(self.weights), (Path(self.weights),)) if self.weights else ""})

    def _score(self, logits: Tensor) -> tuple[float, float]:
        """Return the score for logits [n, classes] and its deviation over the parts."""
        found = isc_features_to_metric(logits, splits=self.splits, rng_seed=SHUFFLE)
        return float(found[KEY_METRIC_ISC_MEAN]), float(found[KEY_METRIC_ISC_STD])
