"""Whether samples show what their condition asked for, by the embedded classifiers: classes, attributes, words."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import lru_cache

import torch
from torch import Tensor

from bnsbench.errors import NotApplicableError
from bnsbench.metrics.base import MetricValue, SampleSet
from bnsbench.metrics.degenerate import is_flat
from bnsbench.metrics.extractors import EXTRACTION_BATCH
from bnsbench.models.digits.data import CLASSES
from bnsbench.models.digits.model import digit_classifier
from bnsbench.models.scenes.data import ATTRIBUTES, attributes
from bnsbench.models.scenes.model import scene_classifier
from bnsbench.models.speech.data import LETTERS, SPELLINGS
from bnsbench.models.speech.model import word_classifier
from bnsbench.models.weights import weights_fingerprint
from bnsbench.statistics import wilson_interval

_digits = lru_cache(maxsize=1)(digit_classifier)
_scenes = lru_cache(maxsize=1)(scene_classifier)
_words = lru_cache(maxsize=1)(word_classifier)


class Agreement(ABC):
    """The share of samples in which an embedded classifier finds what the condition asked for.

    The interval is Wilson's; details hold the ground-truth samples' own share as ``truth``. A sample without variation shows
    nothing, and counts as missed whatever the classifier guesses.
    Raises NotApplicableError for unconditional samples and for models of other data, DivergedError for samples that are not
    finite.
    """

    kind: str
    classifier: str

    @abstractmethod
    def right(self, latents: Tensor, condition: Tensor) -> Tensor:
        """Return for end states [n, *shape] and their conditions what of it is found [n, parts]; all of it counts."""

    def parts(self, right: Tensor) -> dict[str, float]:
        """Return further numbers for the record."""
        del right
        return {}

    def __call__(self, samples: SampleSet) -> MetricValue:
        # Latents are judged, but where the decoder fails nobody is shown anything.
        samples.require_finite(decoded=samples.decoder is not None)
        condition = self._condition(samples)
        with torch.no_grad():
            right, truth = (
                self._found(states.cpu().float(), condition) for states in (samples.latents, samples.truth_latents)
            )
        found = right.all(dim=1)
        low, high = wilson_interval(int(found.sum()), len(found))
        details = {"n": float(len(found)), "truth": float(truth.all(dim=1).double().mean()), **self.parts(right)}
        info = {"classifier": weights_fingerprint(self.classifier)}
        return MetricValue(float(found.double().mean()), low, high, details, found.double().tolist(), info)

    def _found(self, latents: Tensor, condition: Tensor) -> Tensor:
        shown = latents.clamp(-1.0, 1.0) if latents.ndim == 4 else latents  # images are seen so
        return self.right(latents, condition) & ~is_flat(shown)[:, None]

    def _condition(self, samples: SampleSet) -> Tensor:
        if samples.model.extractor != self.kind:
            raise NotApplicableError(f"{type(self).__name__} is defined for {self.kind} only.")
        if samples.condition is None:
            raise NotApplicableError(f"{type(self).__name__} needs samples that are all conditioned.")
        return samples.condition.cpu()


class ClassAccuracy(Agreement):
    """The share of conditional digits that the embedded classifier assigns to the class of their condition."""

    kind, classifier = "digits", "digits-classifier"

    def right(self, latents: Tensor, condition: Tensor) -> Tensor:
        if condition.ndim != 1 or bool((condition >= CLASSES).any()):
            raise NotApplicableError("Class accuracy needs samples that are all conditioned on a class.")
        return torch.eq(_digits()(latents.clamp(-1.0, 1.0)).argmax(dim=-1), condition)[:, None]


class AttributeAlignment(Agreement):
    """The share of scenes in which all attributes are read as the caption has them: layout, and two colours and shapes.

    It stands in for a CLIP score. Details: the share of each attribute.
    """

    kind, classifier = "scenes", "scenes-classifier"

    def right(self, latents: Tensor, condition: Tensor) -> Tensor:
        read = torch.cat([_scenes().read(part) for part in torch.split(latents.clamp(-1.0, 1.0), EXTRACTION_BATCH)])
        return read == attributes(condition)

    def parts(self, right: Tensor) -> dict[str, float]:
        return dict(zip(ATTRIBUTES, right.double().mean(dim=0).tolist(), strict=True))


class WordAccuracy(Agreement):
    """The share of clips in which the embedded classifier recognises the word that was asked for, from the latents."""

    kind, classifier = "speech", "speech-classifier"

    def right(self, latents: Tensor, condition: Tensor) -> Tensor:
        words = SPELLINGS[_words()(latents).argmax(dim=1)]
        return (words == condition[:, :LETTERS]).all(dim=1, keepdim=True)
