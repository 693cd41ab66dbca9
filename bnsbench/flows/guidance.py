"""Guidance scales w of u_w = (1 + w) u_cond - w u_uncond: of all samples, of each, and of a solver that serves several."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

Guidance = float | Tensor
"""A guidance scale w: one for all samples, or a tensor [batch] with one for each."""


def unguided(guidance: Guidance) -> bool:
    """Return whether the scale is 0 for all samples, so that the conditional network alone is asked."""
    return not isinstance(guidance, Tensor) and guidance == 0


def guidance_in_words(guidance: float | Sequence[float]) -> str:
    """Return the guidance scale, or those of a solver that was trained for several, as "2" or "0, 2, 6"."""
    scales = guidance if isinstance(guidance, Sequence) else [guidance]
    return ", ".join(f"{scale:g}" for scale in scales)
