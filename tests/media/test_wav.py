from __future__ import annotations

import struct
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.io.wavfile
import torch

from bnsbench.media.wav import read_wav, write_wav


def test_wav_files_are_what_scipy_reads(tmp_path: Path):
    sound = torch.tensor([0.0, 0.5, -1.0, 2.0, 1e-5])
    write_wav(tmp_path / "x.wav", sound, 16_000)
    rate, numbers = scipy.io.wavfile.read(tmp_path / "x.wav")
    assert rate == 16_000
    assert numbers.tolist() == [0, 16384, -32767, 32767, 0]
    read, rate = read_wav(tmp_path / "x.wav")
    torch.testing.assert_close(read, sound.clamp(-1, 1), atol=2e-5, rtol=0)
    scipy.io.wavfile.write(tmp_path / "y.wav", 8000, np.array([[100, 300], [-5, 5]], dtype=np.int16))
    stereo, rate = read_wav(tmp_path / "y.wav")
    assert rate == 8000
    assert (stereo * 32767).round().tolist() == [200, 0]
    scipy.io.wavfile.write(tmp_path / "z.wav", 8000, np.zeros(4, dtype=np.uint8))
    both = torch.tensor([[0.25, -0.5, 1.0], [0.0, 0.75, -3.0]])
    write_wav(tmp_path / "w.wav", both, 44_100)
    rate, numbers = scipy.io.wavfile.read(tmp_path / "w.wav")
    assert (rate, numbers.tolist()) == (44_100, [[8192, 0], [-16384, 24575], [32767, -32767]])
    with pytest.raises(wave.Error, match="8 bits per sample"):
        read_wav(tmp_path / "z.wav")


WAVE = torch.linspace(-1, 1, 301)


def plain(file: Path, width: int) -> Path:
    """WAVE in PCM of that many bytes, by the standard library."""
    numbers = (WAVE.double() * (2 ** (8 * width - 1) - 1)).round().to(torch.int32).numpy().astype("<i4")
    with wave.open(str(file), "wb") as clip:
        clip.setnchannels(1)
        clip.setsampwidth(width)
        clip.setframerate(8000)
        clip.writeframes(b"".join(number.tobytes()[:width] for number in numbers))
    return file


@pytest.mark.parametrize("width", [2, 3, 4])
def test_pcm_of_16_24_and_32_bits_is_read(tmp_path: Path, width: int):
    sound, rate = read_wav(plain(tmp_path / "x.wav", width))
    assert (rate, sound.dtype) == (8000, torch.float32)
    torch.testing.assert_close(sound, WAVE, atol=0.6 / 2 ** (8 * width - 1) + 2e-7, rtol=0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floating_point_sound_is_read_as_it_is(tmp_path: Path, dtype: type):
    stereo = 1.5 * np.stack([WAVE.numpy(), 0.5 * WAVE.numpy()], axis=1).astype(dtype)
    scipy.io.wavfile.write(tmp_path / "x.wav", 8000, stereo)
    torch.testing.assert_close(read_wav(tmp_path / "x.wav")[0], 1.125 * WAVE)


def cut(length: int) -> Callable[[Path], object]:
    return lambda file: file.write_bytes(plain(file, 3).read_bytes()[:length])


def compressed(file: Path) -> None:
    content = bytearray(plain(file, 2).read_bytes())
    content[20] = 7  # of the format: mu-law
    file.write_bytes(content)


def of_odd_numbers(file: Path) -> None:
    """Floating-point numbers of bytes that no type has, by the header: the bytes of a frame, not of a sample."""
    scipy.io.wavfile.write(file, 8000, np.zeros(20, dtype=np.float32))
    content = bytearray(file.read_bytes())
    content[32:34] = struct.pack("<H", 24840)
    file.write_bytes(content)


@pytest.mark.parametrize(
    "make",
    [
        of_odd_numbers,
        *map(cut, (0, 3, 12, 30, 43, 44, 200, 201, 946)),
        compressed,
        lambda file: file.write_text("hello"),
        lambda file: scipy.io.wavfile.write(file, 8000, np.array([0.0, np.nan], dtype=np.float32)),
        lambda file: scipy.io.wavfile.write(file, 8000, np.array([0.0, np.inf])),
        lambda file: plain(file, 1),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, make: Callable[[Path], object]):
    make(tmp_path / "x.wav")
    with pytest.raises(wave.Error, match=r"x\.wav cannot be read: \w+"):
        read_wav(tmp_path / "x.wav")
