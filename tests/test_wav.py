from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest
import scipy.io.wavfile
import torch

from bnsbench.wav import read_wav, write_wav


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
