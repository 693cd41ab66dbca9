"""The data of the embedded digit models: scikit-learn's 1797 images of 8x8 pixels, their split and their augmentation."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from bnsbench.errors import needed_for

CLASSES = 10
SHAPE = (1, 8, 8)
TRAINING_IMAGES = 1500


class Digits(NamedTuple):
    """Images [n, 1, 8, 8] in [-1, 1], float32, and their int64 labels [n]."""

    images: Tensor
    labels: Tensor


@lru_cache(maxsize=1)
def load_digits() -> Digits:
    """Return all 1797 digits (Alpaydin & Kaynak 1998)."""
    with needed_for("the digits' data"):
        from sklearn.datasets import load_digits as load  # noqa: PLC0415 (slow to import, and most uses need no data)

    data = load()
    images = torch.as_tensor(data.images, dtype=torch.float32).reshape(-1, *SHAPE) / 8.0 - 1.0
    return Digits(images, torch.as_tensor(data.target, dtype=torch.int64))


def split_digits() -> tuple[Digits, Digits]:
    """Return the fixed random split into 1500 training and 297 held-out images."""
    images, labels = load_digits()
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    kept, held = order[:TRAINING_IMAGES], order[TRAINING_IMAGES:]
    return Digits(images[kept], labels[kept]), Digits(images[held], labels[held])


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Return the images under small random rotations, shears, scalings and shifts, resampled bicubically."""
    n = len(images)

    def uniform(bound: float) -> Tensor:
        return (2.0 * torch.rand(n, generator=generator) - 1.0) * bound

    angle, shear, width, height = uniform(0.2), uniform(0.15), uniform(0.12).exp(), uniform(0.12).exp()
    cos, sin = angle.cos(), angle.sin()
    rows = [cos * width, (shear - sin) * height, uniform(0.2), sin * width, cos * height, uniform(0.12)]
    grid = affine_grid(torch.stack(rows, dim=-1).reshape(n, 2, 3), list(images.shape), align_corners=False)
    # The background is -1; resampling pads with 0, so it works on images shifted by one.
    resampled = grid_sample(images + 1.0, grid, mode="bicubic", align_corners=False)
    return (resampled - 1.0).clamp(-1.0, 1.0)
