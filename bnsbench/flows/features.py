"""Feature extractors for a model's samples, for perceptual objectives and for distances between distributions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from torch import Tensor

from bnsbench.errors import NotApplicableError


class SampleFeatures(ABC):
    """A feature extractor for the samples of one model, which `Model.features` returns.

    Subclass it and implement `of_samples` and `fingerprint`. Metrics of sets (fid, kid, precision, recall, density,
    coverage, diversity; fad for sound) compare features, and the training objective "features" goes down their gradient.
    Every row has to depend on its own sample alone, and equal samples have to have equal features.

    Attributes:
        name: of the network, for messages.
        width: how many features a sample has. A Frechet distance needs 15 samples for each.
        classes: how many classes `logits` tells apart; 0 if it tells none.
    """

    name: str
    width: int
    classes: int = 0

    @abstractmethod
    def of_samples(self, samples: Tensor) -> Tensor:
        """Return the features of decoded samples, by operations that torch can differentiate.

        Args:
            samples: Float32 [n, ...], decoded by the model, on any device. Images [n, C, H, W] lie in [-1, 1], and metrics
                round them to the 256 levels that a picture file holds. Sound is mono, [n, samples].

        Returns:
            Features [n, width] on the device of the samples.
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """Return a hexadecimal hash of everything that determines the features: weights and preparation.

        Records hold it, and features that are kept between runs are found by it.
        """

    def of_states(self, states: Tensor, decode: Callable[[Tensor], Tensor]) -> Tensor:
        """Return the features of the ODE's end states, for training; override it where decoding is a detour.

        Args:
            states: [n, *shape], which may require gradients.
            decode: From end states to the samples that `of_samples` takes, but for the rounding of images.

        Returns:
            Features [n, width'] through which gradients flow back to the states. Training takes differences between them,
            so that they need not be those of the metrics, nor as many.
        """
        return self.of_samples(decode(states).float())

    def logits(self, samples: Tensor) -> Tensor:
        """Return the logits [n, classes] of classes, which the Inception Score looks at; see `of_samples`.

        Raises:
            NotApplicableError: The network tells no classes of whole samples apart.
        """
        del samples
        raise NotApplicableError(f"The feature extractor {self.name} knows no classes of samples.")

    def activations(self, samples: Tensor) -> list[Tensor]:
        """Return activations [n, channels, height, width], which the perceptual distance of images compares layer by layer.

        Raises:
            NotApplicableError: There are none, such as for sound.
        """
        del samples
        raise NotApplicableError(f"The feature extractor {self.name} has no activations of images.")
