"""Sound in WAV files of 16 bits, by the standard library: torchaudio needs a further package to read and write them."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import torch
from torch import Tensor


def write_wav(file: Path, sound: Tensor, rate: int) -> None:
    """Write sound [samples] or [channels, samples] in [-1, 1] as 16-bit PCM; louder parts are clipped."""
    channels = sound.detach().cpu().double().reshape(-1, sound.shape[-1])
    numbers = (channels.T.clamp(-1.0, 1.0) * 32767.0).round().numpy().astype("<i2")
    with wave.open(str(file), "wb") as clip:
        clip.setnchannels(len(channels))
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
