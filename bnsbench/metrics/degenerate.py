"""Degenerate samples, which no metric may reward: without variation, or all the same."""

from __future__ import annotations

import torch
from torch import Tensor

from bnsbench.errors import DivergedError

LEVEL = 1.0 / 255.0
"""Values in [-1, 1] that differ by less, half a step of bytes, look the same."""
SAME = 1e-5
"""Features that differ by less, in parts of the largest, differ by rounding."""


def is_flat(samples: Tensor, level: float = LEVEL) -> Tensor:
    """Return which samples [n, ...] have no variation: every channel is one number, over an image or over time.

    Args:
        samples: Images [n, C, H, W], else the last axis is time.
        level: Differences up to this count as none.
    """
    within = (-2, -1) if samples.ndim == 4 else -1
    spread = samples.amax(within) - samples.amin(within)
    return (spread <= level).reshape(len(samples), -1).all(dim=1)


def require_variation(flat: Tensor, of_truth: Tensor) -> None:
    """Raise DivergedError if every sample is flat [n] while not every ground-truth sample is."""
    if bool(flat.all()) and not bool(of_truth.all()):
        raise DivergedError(f"{len(flat)} of {len(flat)} samples have no variation.")


def require_variety(features: Tensor) -> None:
    """Raise DivergedError if all samples have the same features [n, width]."""
    spread = (features - features[:1]).abs().max()
    if bool(spread <= SAME * features.abs().max().clamp_min(torch.finfo(features.dtype).tiny)):
        raise DivergedError(f"{len(features)} of {len(features)} samples are the same, as far as features tell.")
