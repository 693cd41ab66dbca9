"""Whether a generator gives back its training images: how near its samples come to them, beside images it has not seen."""

from __future__ import annotations

import torch
from torch import Tensor

GATE = 0.75
"""The least ratio with which weights ship."""
BATCH = 50


def nearest_ratio(samples: Tensor, training: Tensor, held: Tensor) -> float:
    """Return the samples' mean distance to their nearest training image over that of held-out images.

    Copies of training images bring it near 0; new images reach about 1, or exceed it.

    Args:
        samples: Images [n, ...].
        training: The images [m, ...] that the generator has learned from.
        held: Images [k, ...] of the same data that it has not seen.
    """
    return mean_nearest(samples, training) / mean_nearest(held, training)


def mean_nearest(images: Tensor, others: Tensor) -> float:
    """Return the mean Euclidean distance from images [n, ...] to the nearest of others [m, ...]."""
    among = others.flatten(1)
    nearest = [torch.cdist(part, among).amin(dim=1) for part in torch.split(images.flatten(1), BATCH)]
    return float(torch.cat(nearest).mean())
