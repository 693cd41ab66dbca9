from __future__ import annotations

import math

import pytest
import torch
import torchaudio

from bnsbench.models.speech.audio import (
    BANDS,
    CENTRE,
    FLOOR,
    FRAMES,
    HOP,
    RATE,
    SAMPLES,
    SPREAD,
    WINDOW,
    log_mel,
    waveform,
)


def tone(hertz: float) -> torch.Tensor:
    """A tone with a soft beginning and end [16384]."""
    time = torch.arange(SAMPLES) / RATE
    return 0.3 * torch.sin(2 * math.pi * hertz * time) * torch.sin(math.pi * time / time[-1]).square()


def test_latents_are_torchaudio_s_log_mel_spectrogram():
    sound = torch.stack([tone(440), tone(2000)])
    spectrogram = torchaudio.transforms.MelSpectrogram(
        RATE, n_fft=WINDOW, hop_length=HOP, n_mels=BANDS, f_min=50.0, power=1.0
    )(sound)[..., :FRAMES]
    expected = (spectrogram.clamp_min(FLOOR).log() - CENTRE) / SPREAD
    torch.testing.assert_close(log_mel(sound), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("hertz", [440.0, 2000.0])
def test_sound_of_latents_has_their_spectrum(hertz):
    latents = log_mel(tone(hertz)[None])
    sound = waveform(latents)
    assert sound.shape == (1, SAMPLES)
    peak = torch.fft.rfft(sound[0]).abs().argmax() * RATE / SAMPLES
    assert peak == pytest.approx(hertz, rel=0.05)
    loud = latents > latents.max() - 1.0
    assert (log_mel(sound)[loud] - latents[loud]).abs().mean() < 0.15


def test_silence_stays_silent_and_sound_repeats():
    silent = log_mel(torch.zeros(1, SAMPLES))
    assert waveform(silent).abs().max() == 0
    latents = log_mel(tone(300)[None])
    assert torch.equal(waveform(latents), waveform(latents))
