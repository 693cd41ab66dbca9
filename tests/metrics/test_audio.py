from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.fft
import scipy.signal
import torch
from torchaudio.functional import melscale_fbanks
from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio, signal_noise_ratio

from bnsbench.errors import DivergedError, NotApplicableError
from bnsbench.flows.model import Model
from bnsbench.flows.paths import CondOT
from bnsbench.metrics.audio import LogSpectralDistance, MelCepstralDistortion, SiSdr, Snr, WaveformSnr, in_phase, ratio
from bnsbench.metrics.base import SampleSet

RATE, LENGTH = 16_000, 8_192
WAVEFORM = (WaveformSnr, SiSdr, LogSpectralDistance, MelCepstralDistortion)


class Sound(Model):
    """A model whose end states are waveforms."""

    path = CondOT()
    shape = (LENGTH,)
    sample_rate = RATE

    def predict(self, t, x, condition):
        return x

    def fingerprint(self):
        return "0"


def sounds(made: torch.Tensor, truth: torch.Tensor) -> SampleSet:
    return SampleSet(made, truth, None, 2.0, Sound())


def truth(count: int = 6) -> torch.Tensor:
    """Gliding tones of growing loudness in faint noise."""
    time = np.arange(LENGTH) / RATE
    tones = [scipy.signal.chirp(time, 200 + 100 * k, time[-1], 3000 - 200 * k) * (0.1 + 0.1 * k) for k in range(count)]
    noise = np.random.default_rng(0).normal(size=(count, LENGTH))
    return torch.from_numpy(np.stack(tones) + 0.001 * noise).float()


def noisy(size: float = 0.05) -> SampleSet:
    reference = truth()
    return sounds(reference + size * torch.randn(reference.shape, generator=torch.Generator().manual_seed(0)), reference)


def spectra(samples: SampleSet) -> list[np.ndarray]:
    """Short-time spectra [n, frequencies, frames] by scipy, floored as documented."""
    window = scipy.signal.get_window("hann", 1024)
    found = []
    for sound in (samples.samples.double().numpy(), samples.truth.double().numpy()):
        padded = np.pad(sound, ((0, 0), (512, 512)), mode="reflect")
        frames = np.lib.stride_tricks.sliding_window_view(padded, 1024, axis=1)[:, ::256]
        found.append(np.abs(scipy.fft.rfft(frames * window)).transpose(0, 2, 1))
    floor = 1e-3 * found[1].max(axis=(1, 2), keepdims=True)
    return [np.maximum(part, floor) for part in found]


def test_snr_is_torchmetrics_s():
    samples = noisy()
    expected = signal_noise_ratio(samples.latents, samples.truth_latents)
    result = Snr()(samples)
    assert result.per_sample == pytest.approx(expected.tolist(), abs=1e-3)
    assert result.value == pytest.approx(float(expected.mean()), abs=1e-3)
    assert result.low is not None
    assert result.high is not None
    assert result.low < result.value < result.high


def test_waveforms_take_the_truth_s_phase():
    samples = noisy()
    made, reference = in_phase(samples)
    torch.testing.assert_close(reference, samples.truth, atol=1e-5, rtol=0)
    assert WaveformSnr()(samples).per_sample == pytest.approx(signal_noise_ratio(made, reference).tolist(), abs=1e-3)
    assert SiSdr()(samples).per_sample == pytest.approx(
        scale_invariant_signal_distortion_ratio(made, reference).tolist(), abs=1e-3
    )
    # A sign is nothing but phase.
    assert WaveformSnr()(sounds(-samples.truth, samples.truth)).value > 80
    assert Snr()(sounds(-samples.truth, samples.truth)).value == pytest.approx(-20 * math.log10(2), abs=1e-3)


def test_loudness_counts_for_the_snr_and_not_for_the_distortion():
    louder = sounds(1.5 * truth(), truth())
    assert WaveformSnr()(louder).value == pytest.approx(20 * math.log10(2), abs=0.01)
    assert SiSdr()(louder).value > 80


def test_log_spectral_distance_agrees_with_scipy():
    samples = noisy(0.2)
    made, reference = (20 * np.log10(part) for part in spectra(samples))
    expected = np.sqrt(((made - reference) ** 2).mean(axis=1)).mean(axis=1)
    assert LogSpectralDistance()(samples).per_sample == pytest.approx(expected.tolist(), rel=1e-3)
    # Where nothing is floored, a constant gain is its decibels.
    flat = sounds(2 * white(), white())
    assert LogSpectralDistance()(flat).value == pytest.approx(20 * math.log10(2), abs=0.02)


def white() -> torch.Tensor:
    return 0.1 * torch.randn(3, LENGTH, generator=torch.Generator().manual_seed(1))


def test_cepstral_distortion_agrees_with_scipy_s_cosine_transform():
    samples = noisy(0.2)
    filters = melscale_fbanks(513, 0.0, RATE / 2, 64, RATE, norm="slaney").numpy()
    made, reference = (
        scipy.fft.dct(np.log(np.einsum("nft,fb->nbt", part, filters)), axis=1, norm="ortho") for part in spectra(samples)
    )
    squares = ((made - reference)[:, 1:14] ** 2).sum(axis=1)
    expected = (10 / np.log(10) * np.sqrt(2 * squares)).mean(axis=1)
    assert MelCepstralDistortion()(samples).per_sample == pytest.approx(expected.tolist(), rel=1e-3)
    # A gain moves the zeroth cepstrum only.
    assert MelCepstralDistortion()(sounds(2 * white(), white())).value < 0.02


@pytest.mark.parametrize("metric", WAVEFORM)
def test_values_follow_the_error(metric):
    values = [metric()(noisy(size)).value for size in (0.01, 0.05, 0.2)]
    assert values == sorted(values, reverse=metric in {WaveformSnr, SiSdr})
    assert len(set(values)) == 3


@pytest.mark.parametrize(("metric", "best"), list(zip((Snr, *WAVEFORM), (138.47, None, None, 0.0, 0.0), strict=True)))
def test_equal_sounds_have_the_best_value(metric, best):
    result = metric()(sounds(truth(), truth()))
    assert math.isfinite(result.value)
    assert result.value > 100 if best is None else result.value == pytest.approx(best, abs=0.01)


@pytest.mark.parametrize("metric", [Snr, *WAVEFORM])
def test_silence_and_single_sounds_have_finite_values(metric):
    silent = torch.zeros(1, LENGTH)
    for made, reference in ((silent, silent), (truth(1), silent), (silent, truth(1))):
        result = metric()(sounds(made, reference))
        assert math.isfinite(result.value)
        assert (result.low, result.high) == (None, None)


@pytest.mark.parametrize("metric", [Snr, WaveformSnr, SiSdr])
def test_silence_counts_nothing(metric):
    """No ratio is defined for it, and torchmetrics, too, gives zeros in place of a sample 0 dB."""
    silent, quiet = torch.zeros(1, LENGTH), 1e-5 * white()[:1]
    assert metric()(sounds(silent, truth(1))).value == pytest.approx(0, abs=1e-4)
    assert metric()(sounds(truth(1), silent)).value == 0
    assert metric()(sounds(quiet, silent)).value == metric()(sounds(silent, silent)).value == pytest.approx(138.47, abs=0.01)
    assert metric()(sounds(-truth(1) * 1e9, truth(1))).value >= -138.5


@pytest.mark.parametrize("metric", [LogSpectralDistance, MelCepstralDistortion])
def test_silence_is_as_far_as_the_floor(metric):
    silent = torch.zeros(3, LENGTH)
    found = metric()(sounds(silent, white())).value, metric()(sounds(white(), silent)).value
    assert found[0] == pytest.approx(found[1], rel=1e-5)
    assert 0 < found[0] <= 60 * (6 if metric is MelCepstralDistortion else 1)
    assert metric()(sounds(silent, silent)).value == 0


@pytest.mark.parametrize("metric", WAVEFORM)
def test_sounds_too_short_or_too_slow_for_spectra_are_not_applicable(metric):
    short, long = torch.ones(2, 512), torch.ones(2, 513)
    with pytest.raises(NotApplicableError, match="16000 Hz need sounds of more than 512 values, not 512"):
        metric()(sounds(short, short))
    assert math.isfinite(metric()(sounds(long, long)).value)
    slow = Sound()
    slow.sample_rate = 40
    with pytest.raises(NotApplicableError, match="rate of at least 63 Hz, not 40"):
        metric()(SampleSet(long, long, None, 2.0, slow))


def test_cepstra_need_frequencies_in_every_band():
    slow = Sound()
    slow.sample_rate = 1000
    with pytest.raises(NotApplicableError, match="64 mel bands need sounds at a higher rate than 1000 Hz"):
        MelCepstralDistortion()(SampleSet(truth(), truth(), None, 2.0, slow))


@pytest.mark.parametrize("metric", [Snr, *WAVEFORM])
def test_batches_do_not_change_values(metric):
    whole = noisy()
    parts = [sounds(whole.samples[k : k + 2], whole.truth[k : k + 2]) for k in (0, 2, 4)]
    alone = [value for part in parts for value in metric()(part).per_sample]
    assert metric()(whole).per_sample == pytest.approx(alone, rel=1e-5)


@pytest.mark.parametrize("metric", [Snr, *WAVEFORM])
def test_broken_sounds_raise(metric):
    broken = truth()
    broken[1, 3] = torch.nan
    with pytest.raises(DivergedError, match="1 of 6"):
        metric()(sounds(broken, truth()))


@pytest.mark.parametrize("metric", WAVEFORM)
def test_pictures_make_no_sound(metric, sample_set, images):
    with pytest.raises(NotApplicableError, match="no sound"):
        metric()(sample_set(images.samples[:4], images.samples[:4]))


@pytest.mark.parametrize("metric", WAVEFORM)
def test_equal_channels_count_as_one(metric):
    """Spectral floors and means are over all channels, so twice the same is the same."""
    alone = noisy(0.2)
    twice = sounds(*(part.unsqueeze(1).repeat(1, 2, 1) for part in (alone.samples, alone.truth)))
    assert metric()(twice).per_sample == pytest.approx(metric()(alone).per_sample, rel=1e-4)


def test_channels_are_told_apart():
    """Silence in one channel's place is an error in half of the signal: 3 dB below the truth's power."""
    reference = white().repeat_interleave(2, dim=0).reshape(3, 2, LENGTH)
    made = reference * torch.tensor([1.0, 0.0])[:, None]
    stereo = sounds(made, reference)
    assert WaveformSnr()(stereo).value == pytest.approx(10 * math.log10(2), abs=0.01)
    left, right = (sounds(made[:, k], reference[:, k]) for k in (0, 1))
    distances = [LogSpectralDistance()(each).value for each in (left, right, stereo)]
    assert distances[2] == pytest.approx((distances[0] + distances[1]) / 2, rel=1e-3)
    swapped = sounds(reference.flip(1) * torch.tensor([1.0, 2.0])[:, None], reference)
    assert swapped.samples.shape == (3, 2, LENGTH)
    assert LogSpectralDistance()(swapped).value == pytest.approx(10 * math.log10(2), abs=0.02)


def test_ratio_is_capped_by_rounding():
    signal = torch.ones(2, 10, dtype=torch.float64)
    assert ratio(signal, signal * 0).tolist() == pytest.approx([313.07] * 2, abs=0.01)
    assert ratio(signal, 0.1 * signal).tolist() == pytest.approx([20.0] * 2)
