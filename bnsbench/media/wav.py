"""Sound in WAV files: torchaudio needs a further package to read and write them."""

from __future__ import annotations

import struct
import warnings
import wave
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bnsbench.errors import one_line
from bnsbench.storage.files import replacing


def write_wav(file: Path, sound: Tensor, rate: int) -> None:
    """Write sound as 16-bit PCM; parts beyond full scale are clipped.

    Args:
        file: The WAV file.
        sound: [samples] or [channels, samples]; full scale is [-1, 1].
        rate: In Hz.
    """
    channels = sound.detach().cpu().double().reshape(-1, sound.shape[-1])
    numbers = (channels.T.clamp(-1.0, 1.0) * 32767.0).round().numpy().astype("<i2")
    with replacing(file) as temporary, wave.open(str(temporary), "wb") as clip:
        clip.setnchannels(len(channels))
        clip.setsampwidth(2)
        clip.setframerate(rate)
        clip.writeframes(numbers.tobytes())


def read_wav(file: Path) -> tuple[Tensor, int]:
    """Return mono sound [samples] of a WAV file, its channels averaged, and its rate in Hz; [-1, 1] is full scale.

    The file holds PCM of 16, 24 or 32 bits, or floating-point numbers.

    Raises:
        wave.Error: If it is another file, or is cut off, or has numbers that are not finite.
        OSError: If there is no such file.
    """
    from scipy.io import wavfile  # noqa: PLC0415 - slow to import

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", wavfile.WavFileWarning)  # of chunks that are no sound
            warnings.filterwarnings("error", "Reached EOF", wavfile.WavFileWarning)
            rate, numbers = wavfile.read(file)
    except (*_DAMAGE, wavfile.WavFileWarning) as error:
        reason = one_line(error)
        raise wave.Error(f"{file} cannot be read: it is damaged, or no WAV file of plain numbers ({reason})") from error
    sound = _full_scale_one(numbers, file)
    return torch.from_numpy((sound if sound.ndim == 1 else sound.mean(axis=1)).astype(np.float32)), int(rate)


_DAMAGE = (ValueError, TypeError, LookupError, EOFError, ArithmeticError, UnboundLocalError, struct.error)
"""The errors of scipy for files that end too soon, hold no sound or are compressed."""


def _full_scale_one(numbers: NDArray[Any], file: Path) -> NDArray[np.float64]:
    """Return the numbers of a file, of whatever type, with full scale at 1."""
    if numbers.dtype.kind == "f":
        if not np.isfinite(numbers).all():
            raise wave.Error(f"{file} cannot be read: some of its numbers are not finite")
        return numbers.astype(np.float64)
    if numbers.dtype.itemsize < 2:
        bits = 8 * numbers.dtype.itemsize
        raise wave.Error(f"{file} cannot be read: it has {bits} bits per sample, and at least 16 are needed")
    # 24 bits come shifted to the top of 32.
    return numbers.astype(np.float64) / np.iinfo(numbers.dtype).max
