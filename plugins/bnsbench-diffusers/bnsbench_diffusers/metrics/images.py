"""Images as networks that were trained on photographs take them."""

from __future__ import annotations

from torch import Tensor

from bnsbench.plugin import NotApplicableError, clamped_images


def rgb(values: Tensor) -> Tensor:
    """Return images [n, 3, H, W] clamped to [-1, 1] in float32; NotApplicableError for anything else."""
    images = clamped_images(values)
    if images.shape[1] != 3:
        raise NotApplicableError(f"The network sees images in colour, not of {images.shape[1]} channels.")
    return images
