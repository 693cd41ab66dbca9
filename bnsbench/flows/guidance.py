"""Guidance scales w of u_w = (1 + w) u_cond - w u_uncond: of all samples, of each, and of a solver that serves several."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from bnsbench.errors import NotApplicableError

Guidance = float | Tensor
"""A guidance scale w: one for all samples, or a tensor [batch] with one for each."""


def unguided(guidance: Guidance) -> bool:
    """Return whether the scale is 0 for all samples, so that the conditional network alone is asked."""
    return not isinstance(guidance, Tensor) and guidance == 0


def one_scale(guidance: Guidance) -> float:
    """Return the scale of all samples; NotApplicableError if they have several."""
    if not isinstance(guidance, Tensor):
        return guidance
    scales = sorted(set(guidance.tolist()))
    if len(scales) != 1:
        raise NotApplicableError(f"The samples have several guidance scales, {guidance_in_words(scales)}, and not one.")
    return float(scales[0])


def guidance_in_words(guidance: float | Sequence[float]) -> str:
    """Return the guidance scale, or those of a solver that was trained for several, as "2" or "0, 2, 6"."""
    scales = guidance if isinstance(guidance, Sequence) else [guidance]
    return ", ".join(f"{scale:g}" for scale in scales)


def check_scale(own: float, guidance: Guidance) -> None:
    """Raise NotApplicableError unless a field has the guidance scale ``own`` of a table that weighs both answers apart."""
    same = bool((guidance == own).all()) if isinstance(guidance, Tensor) else guidance == own
    if not same:
        scales = sorted(set(guidance.tolist())) if isinstance(guidance, Tensor) else guidance
        raise NotApplicableError(
            "This table weighs the network's answers with and without the condition apart, so that guidance is part of "
            f"its numbers: it is for w = {own:g} and cannot run at w = {guidance_in_words(scales)}."
        )
