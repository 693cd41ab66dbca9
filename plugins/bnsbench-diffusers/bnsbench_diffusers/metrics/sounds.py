"""Sounds as networks of audio take them: one channel, at a known rate."""

from __future__ import annotations

from torch import Tensor

from bnsbench.errors import NotApplicableError
from bnsbench.metrics.base import SampleSet


def sound_rate(samples: SampleSet) -> int:
    """Return the rate of samples [n, samples] or [n, channels, samples] in Hz; NotApplicableError if they are no sound."""
    rate = samples.model.sample_rate
    if rate is None:
        raise NotApplicableError("The samples are no sound.")
    return rate


def mono(sounds: Tensor) -> Tensor:
    """Return waveforms [n, samples] in float32, channels averaged; NotApplicableError for samples of another shape."""
    if sounds.ndim not in (2, 3):
        raise NotApplicableError(f"Samples of shape {tuple(sounds.shape[1:])} are no sound.")
    return sounds.float() if sounds.ndim == 2 else sounds.float().mean(dim=1)
