"""The base of feature extractors made from embedded classifiers of images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from torch import Tensor

from bnsbench.errors import NotApplicableError
from bnsbench.flows.features import SampleFeatures
from bnsbench.models.weights import weights_fingerprint


class ImageClassifier(Protocol):
    """A network whose normalised feature vector feeds metrics."""

    width: int

    def to(self, device: Any) -> Any:
        """Move the network itself."""

    def features(self, images: Tensor) -> Tensor:
        """Return the features [n, width] of images in [-1, 1]."""

    def activations(self, images: Tensor) -> list[Tensor]:
        """Return the activations [n, channels, height, width] of every convolution."""


class ClassLogits(ImageClassifier, Protocol):
    """A network that tells one class of an image."""

    def __call__(self, images: Tensor) -> Tensor:
        """Return the logits [n, classes] of images in [-1, 1]."""


class ClassifierFeatures(SampleFeatures):
    """The features of an embedded classifier of images.

    Args:
        name: Of the classifier's weights.
        network: The classifier with these weights, which moves to the device of the samples.
        shape: Of the images that it was trained on, [channels, height, width].
    """

    def __init__(self, name: str, network: ImageClassifier, shape: tuple[int, ...]) -> None:
        self.name = name
        self.network = network
        self.width = network.width
        self.shape = shape

    def of_samples(self, samples: Tensor) -> Tensor:
        self.watch(samples)
        return self.network.features(samples)

    def of_states(self, states: Tensor, decode: Callable[[Tensor], Tensor]) -> Tensor:
        # To levels of bytes and back without rounding, as ever: tables that are trained stay the same to the last bit.
        levels = (decode(states).float() + 1.0) * 127.5
        return self.of_samples(levels / 127.5 - 1.0)

    def activations(self, samples: Tensor) -> list[Tensor]:
        self.watch(samples)
        return self.network.activations(samples)

    def fingerprint(self) -> str:
        return weights_fingerprint(self.name)

    def watch(self, samples: Tensor) -> None:
        """Move the network to where samples are; NotApplicableError if they are no images of its kind."""
        if samples.shape[1:] != self.shape:
            raise NotApplicableError(f"The {self.name} sees images of shape {self.shape}, not {tuple(samples.shape[1:])}.")
        self.network.to(samples.device)


class ClassFeatures(ClassifierFeatures):
    """The features of an embedded classifier that tells one class of a whole image, and its logits.

    Args:
        name: Of the classifier's weights.
        network: The classifier with these weights, which moves to the device of the samples.
        shape: Of the images that it was trained on, [channels, height, width].
        classes: How many it tells apart.
    """

    network: ClassLogits

    def __init__(self, name: str, network: ClassLogits, shape: tuple[int, ...], classes: int) -> None:
        super().__init__(name, network, shape)
        self.classes = classes

    def logits(self, samples: Tensor) -> Tensor:
        self.watch(samples)
        return self.network(samples)
