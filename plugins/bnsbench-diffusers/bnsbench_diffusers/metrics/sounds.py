"""Sounds as networks of audio take them: one channel, at a known rate."""

from __future__ import annotations

from torch import Tensor

from bnsbench.errors import NotApplicableError
from bnsbench.metrics.base import SampleSet


def sound_rate(samples: SampleSet) -> int:
    """Return the rate in Hz of waveforms [n, samples] or [n, channels, samples]; NotApplicableError if they are no sound."""
    rate = samples.model.sample_rate
    if rate is None or samples.samples.ndim not in (2, 3):
        raise NotApplicableError("The samples are no sound.")
    return rate


def mono(sounds: Tensor) -> Tensor:
    """Return waveforms [n, samples], the channels of [n, channels, samples] averaged."""
    return sounds.mean(dim=1) if sounds.ndim == 3 else sounds
