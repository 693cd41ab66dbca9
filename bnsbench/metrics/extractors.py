"""Feature extractors for torch-fidelity: the embedded classifiers and Inception-v3 from a local file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY, register_feature_extractor

from bnsbench.errors import NotApplicableError, UsageError, one_line
from bnsbench.flows.model import Model
from bnsbench.metrics.contents import content_hash
from bnsbench.models.digits import data as digits_data
from bnsbench.models.digits.data import CLASSES
from bnsbench.models.digits.model import digit_classifier
from bnsbench.models.digits.network import DigitClassifier
from bnsbench.models.scenes import data as scenes_data
from bnsbench.models.scenes.model import scene_classifier
from bnsbench.models.scenes.network import SceneClassifier
from bnsbench.models.speech.model import word_classifier
from bnsbench.models.weights import weights_fingerprint

DIGITS = "bnsbench-digits"
SCENES = "bnsbench-scenes"
INCEPTION = "inception-v3-compat"
EXTRACTION_BATCH = 256

Use = Literal["features", "logits"]


def to_uint8(images: Tensor) -> Tensor:
    """Return images in [-1, 1] as uint8, clamped and rounded: the one rule by which all images reach an extractor."""
    exact = images.to(torch.promote_types(images.dtype, torch.float32))  # bfloat16 would round on the way
    return ((exact.clamp(-1.0, 1.0) + 1.0) * 127.5).round().to(torch.uint8)


class EmbeddedExtractor(FeatureExtractorBase):  # type: ignore[misc]
    """An embedded classifier as a torch-fidelity extractor, for uint8 images; the weights are the shipped ones.

    Colour images are averaged to grey where the classifier sees grey ones, because torch-fidelity opens image files as RGB.
    """

    network: DigitClassifier | SceneClassifier
    shape: tuple[int, int, int]

    def __init__(self, name: str, features_list: list[str], **unused: Any) -> None:
        del unused  # torch-fidelity hands over all keywords of its call
        super().__init__(name, features_list)

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        return "features", "logits"

    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        return "logits" if metric == "isc" else "features"

    @staticmethod
    def can_be_compiled() -> bool:
        return False

    @classmethod
    def get_dummy_input_for_compile(cls) -> Tensor:
        return torch.zeros(1, *cls.shape, dtype=torch.uint8)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        features = self.network.features(self.seen(images))
        layers = {"features": features, "logits": self.network.head(features)}
        return tuple(layers[name] for name in self.features_list)

    def seen(self, images: Tensor) -> Tensor:
        """Return what the classifier sees of images in [0, 255]."""
        scaled = images.float() / 127.5 - 1.0
        return scaled if len(scaled[0]) == self.shape[0] else scaled.mean(dim=1, keepdim=True)


class DigitsExtractor(EmbeddedExtractor):
    """The digit classifier, for images [n, 1 or 3, 8, 8]."""

    shape = digits_data.SHAPE

    def __init__(self, name: str, features_list: list[str], **unused: Any) -> None:
        super().__init__(name, features_list, **unused)
        self.network = digit_classifier()


class ScenesExtractor(EmbeddedExtractor):
    """The reader of scenes, for images [n, 3, 32, 32]."""

    shape = scenes_data.SHAPE

    def __init__(self, name: str, features_list: list[str], **unused: Any) -> None:
        super().__init__(name, features_list, **unused)
        self.network = scene_classifier()


def register_embedded() -> None:
    """Register the embedded extractors with torch-fidelity, which refuses a second registration of a name."""
    for name, extractor in ((DIGITS, DigitsExtractor), (SCENES, ScenesExtractor)):
        if name not in FEATURE_EXTRACTORS_REGISTRY:
            register_feature_extractor(name, extractor)


@dataclass(frozen=True)
class Extractor:
    """A network whose first output are the features or logits that a metric uses, such as a torch-fidelity extractor.

    width: their number. fingerprint: hash of the weights.
    """

    network: nn.Module
    width: int
    fingerprint: str

    def features(self, samples: Tensor) -> Tensor:
        """Return the features [n, width] of uint8 images or of waveforms, on the CPU, in batches of one fixed size."""
        self.network.to(samples.device)
        with torch.no_grad():
            found = torch.cat([self.network(part)[0].cpu() for part in torch.split(samples, EXTRACTION_BATCH)])
        return found.to(torch.promote_types(found.dtype, torch.float32))


def extractor_for(shape: tuple[int, ...], weights: str = "", kind: str = "", use: Use = "features") -> Extractor:
    """Return the extractor for images of that shape [C, H, W]: an embedded one, or Inception-v3 for RGB.

    weights: path of torch-fidelity's Inception-v3 file, which takes precedence. kind: what the images show ("digits",
    "scenes"), see `Model.extractor`; 8x8 images are taken for digits. use: features for distances, or logits of classes.
    Nothing is ever downloaded, so other RGB images without weights raise NotApplicableError, as do samples that are no
    images. A path that is no file raises UsageError.
    """
    rgb = len(shape) == 3 and shape[0] == 3
    if shape == DigitsExtractor.shape:
        return _embedded("digits", use)
    if kind in EMBEDDED and not (weights and rgb):
        return _embedded(kind, use)
    if not rgb:
        raise NotApplicableError(
            f"Samples of shape {shape} have no feature extractor: they are neither digits nor RGB images."
        )
    if not weights:
        raise NotApplicableError("Features of RGB images need Inception-v3's weights for torch-fidelity: give weights=PATH.")
    if not Path(weights).is_file():
        raise UsageError(f"There is no Inception-v3 weights file {weights}.")
    return _inception(weights, use, content_hash(Path(weights), (Path(weights),)))


def embedded_network(model: Model) -> DigitClassifier | SceneClassifier:
    """Return the embedded classifier of what the model shows; NotApplicableError if there is none."""
    if model.extractor not in EMBEDDED:
        raise NotApplicableError(f"No embedded classifier knows what {type(model).__name__} shows.")
    return cast("EmbeddedExtractor", _embedded(model.extractor, "features").network).network


def differentiable_features(model: Model) -> Callable[[Tensor], Tensor] | None:
    """Return the features [n, width] of a model's end states as a differentiable function, for training by them.

    They are the extractor's, of images without the rounding to bytes, of speech before it becomes sound; None for a model
    whose samples have no embedded extractor.
    """
    if model.extractor == "speech":
        recogniser = word_classifier()
        return lambda states: recogniser.to(states.device).features(states.float())
    try:
        extractor = extractor_for(model.shape, kind=model.extractor)
    except NotApplicableError:
        return None
    network = extractor.network

    def features(states: Tensor) -> Tensor:
        images = (model.decode(states).float() + 1.0) * 127.5
        network.to(images.device)
        found: Tensor = network(images)[0]
        return found

    return features


EMBEDDED = {
    "digits": (DIGITS, DigitsExtractor, {"features": DigitClassifier.width, "logits": CLASSES}, "digits-classifier"),
    "scenes": (SCENES, ScenesExtractor, {"features": SceneClassifier.width}, "scenes-classifier"),
}
"""By kind: torch-fidelity's name, the extractor, the widths of its outputs and the name of its weights."""

INCEPTION_LAYERS = {"features": ("2048", 2048), "logits": ("logits_unbiased", 1008)}
"""By use: torch-fidelity's name of the layer, and its width."""


@lru_cache(maxsize=2 * len(EMBEDDED))
def _embedded(kind: str, use: Use) -> Extractor:
    register_embedded()
    name, extractor, widths, weights = EMBEDDED[kind]
    if use not in widths:
        raise NotApplicableError(
            f"The embedded reader of {kind} knows no classes of images, only attributes of their parts."
        )
    return Extractor(extractor(name, [use]).eval(), widths[use], weights_fingerprint(weights))


@lru_cache(maxsize=2)
def _inception(weights: str, use: Use, fingerprint: str) -> Extractor:
    layer, width = INCEPTION_LAYERS[use]
    try:
        with torch.random.fork_rng(devices=()):  # initial weights are drawn, and thrown away
            network = FeatureExtractorInceptionV3(INCEPTION, [layer], feature_extractor_weights_path=weights).eval()
    except Exception as error:  # whatever pickle and torch raise for files of other things
        reason = one_line(error)
        raise UsageError(f"The file {weights} does not hold Inception-v3's weights for torch-fidelity: {reason}.") from error
    return Extractor(network, width, fingerprint)
