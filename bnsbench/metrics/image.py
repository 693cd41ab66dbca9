"""Comparisons of images with the ground truth of the same noise: PSNR, SSIM and a perceptual distance."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from bnsbench.errors import NotApplicableError, needed_for
from bnsbench.flows.features import SampleFeatures
from bnsbench.flows.model import Model
from bnsbench.metrics.base import SampleSet
from bnsbench.metrics.extractors import EXTRACTION_BATCH
from bnsbench.metrics.paired import PairedMetric
from bnsbench.truth.psnr import psnr_per_sample

GAUSSIAN_WINDOW, UNIFORM_WINDOW = 11, 7
SMALLEST_FOR_GAUSSIAN = 16
"""Sides in pixels: of SSIM's window by Wang et al., of scikit-image's default, and of the least image for the former."""


class Psnr(PairedMetric):
    """The PSNR of the ODE's end states in dB.

    It looks at the latents, which are what a solver determines, without decoding or clamping. A constant sample has an
    ordinary error, and thus an ordinary PSNR.
    """

    def compare(self, samples: SampleSet) -> Tensor:
        return psnr_per_sample(samples.latents, samples.truth_latents, samples.data_range)

    def details(self, samples: SampleSet) -> dict[str, float]:
        return {"data_range": samples.data_range}


class Ssim(PairedMetric):
    """Structural similarity (Wang et al. 2004) of images in [-1, 1]; 1 for equal images.

    Gaussian windows of 11x11 pixels; uniform ones of 7x7 for images with a side below 16. Where a window is constant, the
    formula's own constants decide: an image without variation has a similarity near 0 to one with it.

    Raises:
        NotApplicableError: If the samples are no images of at least 7x7.
    """

    def compare(self, samples: SampleSet) -> Tensor:
        with needed_for("SSIM"):
            from torchmetrics.functional.image import structural_similarity_index_measure  # noqa: PLC0415 (slow to import)

        images, truth = (clamped_images(values) for values in (samples.samples, samples.truth))
        side = min(images.shape[2:])
        if side < UNIFORM_WINDOW:
            raise NotApplicableError(f"SSIM needs images of at least {UNIFORM_WINDOW}x{UNIFORM_WINDOW} pixels, not {side}.")
        gaussian = side >= SMALLEST_FOR_GAUSSIAN
        window = GAUSSIAN_WINDOW if gaussian else UNIFORM_WINDOW
        _, everywhere = structural_similarity_index_measure(
            images, truth, gaussian_kernel=gaussian, kernel_size=window, data_range=2.0, return_full_image=True
        )
        # Only windows that lie inside the image count, as in the paper's own code; torchmetrics averages padded ones too.
        edge = window // 2
        return torch.as_tensor(everywhere)[..., edge:-edge, edge:-edge].flatten(1).mean(dim=1)


class Perceptual(PairedMetric):
    """The perceptual distance of LPIPS (Zhang et al. 2018, eq. 1) in activations of the model's features, all weights one.

    0 for equal images. At a place where all activations of a layer vanish in one of the images, which they may where it has
    no variation, they have no direction, and the distance there is 1.

    Raises:
        NotApplicableError: If the model has no features, or they have no activations of images.
    """

    worst = 0.95

    def compare(self, samples: SampleSet) -> Tensor:
        features = own_features(samples.model)
        images, truth = (clamped_images(values).cpu() for values in (samples.samples, samples.truth))
        parts = zip(torch.split(images, EXTRACTION_BATCH), torch.split(truth, EXTRACTION_BATCH), strict=True)
        with torch.no_grad():
            return torch.cat([perceptual_distance(features.activations(a), features.activations(b)) for a, b in parts])


def own_features(model: Model) -> SampleFeatures:
    """Return the features that a model brings, for perceptual distances; NotApplicableError if it brings none."""
    features = model.features()
    if features is None:
        raise NotApplicableError(
            f"The perceptual distance needs features of images, and {type(model).__name__} brings none."
        )
    return features


def perceptual_distance(activations: list[Tensor], others: list[Tensor]) -> Tensor:
    """Return sum over layers of mean over places of |a / |a| - b / |b||^2, for activations [n, C, H, W] of each layer."""
    layers = zip(activations, others, strict=True)
    return torch.stack([(normalize(a) - normalize(b)).square().sum(1).mean((1, 2)) for a, b in layers]).sum(0)


def clamped_images(samples: Tensor) -> Tensor:
    """Return images [n, C, H, W] clamped to [-1, 1] in float32; NotApplicableError for anything else."""
    if samples.ndim != 4:
        raise NotApplicableError(f"Samples of shape {tuple(samples.shape[1:])} are no images.")
    return samples.float().clamp(-1.0, 1.0)
