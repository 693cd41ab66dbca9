"""The data of the embedded digit models: scikit-learn's 1797 images of 8x8 pixels, their split and their augmentation."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from bnsbench.flows.model import Reference

CLASSES = 10
SHAPE = (1, 8, 8)
TRAINING_IMAGES = 1500


@lru_cache(maxsize=1)
def load_digits() -> Reference:
    """Return all digits as float32 images [1797, 1, 8, 8] in [-1, 1] with their labels (Alpaydin & Kaynak 1998)."""
    from sklearn.datasets import load_digits as load

    data = load()
    images = torch.as_tensor(data.images, dtype=torch.float32).reshape(-1, *SHAPE) / 8.0 - 1.0
    return Reference(images, torch.as_tensor(data.target, dtype=torch.int64))


def split_digits() -> tuple[Reference, Reference]:
    """Return the fixed random split into 1500 training and 297 held-out images."""
    data = load_digits()
    assert data.labels is not None
    order = torch.randperm(len(data.samples), generator=torch.Generator().manual_seed(0))
    kept, held = order[:TRAINING_IMAGES], order[TRAINING_IMAGES:]
    return Reference(data.samples[kept], data.labels[kept]), Reference(data.samples[held], data.labels[held])


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Return the images under small random rotations, shears, scalings and shifts, resampled bicubically."""
    n = len(images)

    def uniform(bound: float) -> Tensor:
        return (2.0 * torch.rand(n, generator=generator) - 1.0) * bound

    angle, shear, width, height = uniform(0.2), uniform(0.15), uniform(0.12).exp(), uniform(0.12).exp()
    cos, sin = angle.cos(), angle.sin()
    rows = [cos * width, (shear - sin) * height, uniform(0.2), sin * width, cos * height, uniform(0.12)]
    grid = F.affine_grid(torch.stack(rows, dim=-1).reshape(n, 2, 3), list(images.shape), align_corners=False)
    # The background is -1; resampling pads with 0, so it works on images shifted by one.
    resampled = F.grid_sample(images + 1.0, grid, mode="bicubic", align_corners=False)
    return (resampled - 1.0).clamp(-1.0, 1.0)
