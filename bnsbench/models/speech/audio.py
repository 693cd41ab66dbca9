"""Waveforms and log-mel spectrograms: the latents of the speech model, and their way back to sound."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torchaudio.functional import griffinlim, melscale_fbanks

RATE = 16_000
WINDOW, HOP = 1024, 256
BANDS, FRAMES = 64, 64
SAMPLES = HOP * FRAMES
"""Samples of a clip at 16 kHz: 1.024 s."""
LOWEST_HERTZ = 50.0
FLOOR = 1e-2
"""Magnitudes below are silence."""
CENTRE, SPREAD = -2.0, 2.5
"""Of the logarithms of magnitudes, by which latents come to about unit variance."""
PHASE_ITERATIONS = 32


def log_mel(waveforms: Tensor) -> Tensor:
    """Return the latents [n, 64 bands, 64 frames] of waveforms [n, 16384]: centred and scaled logarithms of magnitudes."""
    window, filters = (each.to(waveforms.device) for each in (_window(), _filters()))
    spectrum = torch.stft(waveforms, WINDOW, HOP, window=window, return_complex=True)[..., :FRAMES].abs()
    bands = filters.T @ spectrum
    return (bands.clamp_min(FLOOR).log() - CENTRE) / SPREAD


def waveform(latents: Tensor) -> Tensor:
    """Return sound [n, 16384] for latents [n, 64, 64], its phase found by Griffin and Lim's iteration from a fixed start."""
    sound: Tensor = griffinlim(
        magnitudes(latents),
        _window(),
        n_fft=WINDOW,
        hop_length=HOP,
        win_length=WINDOW,
        power=1.0,
        n_iter=PHASE_ITERATIONS,
        momentum=0.99,
        length=SAMPLES,
        rand_init=False,
    )
    return sound


def magnitudes(latents: Tensor) -> Tensor:
    """Return the spectrum's magnitudes [n, 513, 65] for latents [n, 64, 64], least squares, the last frame repeated."""
    bands = (latents.float() * SPREAD + CENTRE).exp()
    bands = torch.where(bands > 1.5 * FLOOR, bands, torch.zeros_like(bands))
    spectrum = (torch.linalg.pinv(_filters().T) @ bands).clamp_min(0.0)
    return torch.cat([spectrum, spectrum[..., -1:]], dim=-1)


@lru_cache(maxsize=1)
def _filters() -> Tensor:
    """Return the mel filters [513, 64]."""
    filters: Tensor = melscale_fbanks(WINDOW // 2 + 1, LOWEST_HERTZ, RATE / 2, BANDS, RATE)
    return filters


@lru_cache(maxsize=1)
def _window() -> Tensor:
    return torch.hann_window(WINDOW)
