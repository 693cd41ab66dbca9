"""Waveforms and log-mel spectrograms: the latents of the speech model, their way back to sound, and WAV files."""

from __future__ import annotations

import wave
from functools import lru_cache
from pathlib import Path

import numpy as np
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
    spectrum = torch.stft(waveforms, WINDOW, HOP, window=_window(), return_complex=True)[..., :FRAMES].abs()
    bands = _filters().T @ spectrum
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


def write_wav(file: Path, sound: Tensor, rate: int = RATE) -> None:
    """Write mono sound [samples] in [-1, 1] as 16-bit PCM; louder parts are clipped."""
    numbers = (sound.detach().cpu().double().clamp(-1.0, 1.0) * 32767.0).round().numpy().astype("<i2")
    with wave.open(str(file), "wb") as clip:
        clip.setnchannels(1)
        clip.setsampwidth(2)
        clip.setframerate(rate)
        clip.writeframes(numbers.tobytes())


def read_wav(file: Path) -> tuple[Tensor, int]:
    """Return mono sound [samples] in [-1, 1] of a 16-bit PCM file, its channels averaged, and its rate."""
    with wave.open(str(file), "rb") as clip:
        channels, rate = clip.getnchannels(), clip.getframerate()
        if clip.getsampwidth() != 2:
            raise wave.Error(f"{file} has {8 * clip.getsampwidth()} bits per sample instead of 16")
        numbers = np.frombuffer(clip.readframes(clip.getnframes()), dtype="<i2")
    return torch.from_numpy(numbers.reshape(-1, channels).mean(axis=1).astype(np.float32) / 32767.0), rate
