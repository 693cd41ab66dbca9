"""How near sounds are to the ground truth of the same noise: ratios of latents and waveforms, spectral distances."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torchaudio.functional import create_dct, melscale_fbanks

from bnsbench.errors import NotApplicableError
from bnsbench.metrics.base import SampleSet
from bnsbench.metrics.paired import PairedMetric

WINDOW_SECONDS = 0.064
"""Four hops long."""
QUIETEST = 1e-3
"""Magnitudes are compared down to 60 dB below the loudest of the ground truth; what is quieter counts as silence."""
BANDS, CEPSTRA = 64, 13


class Snr(PairedMetric):
    """The signal-to-noise ratio 10 log10(|truth|^2 / |error|^2) of the ODE's end states in dB, such as log-mel latents."""

    def compare(self, samples: SampleSet) -> Tensor:
        truth = samples.truth_latents.flatten(1)
        return ratio(truth, samples.latents.flatten(1) - truth)


class WaveformSnr(PairedMetric):
    """The signal-to-noise ratio of waveforms in dB, both with the ground truth's phases.

    A vocoder that estimates phases turns nearly equal spectra into waveforms that differ as a whole, so only magnitudes can
    be compared. Raises NotApplicableError for samples that are no sound, as all metrics of waveforms do.
    """

    def compare(self, samples: SampleSet) -> Tensor:
        made, truth = in_phase(samples)
        return ratio(truth, made - truth)


class SiSdr(PairedMetric):
    """The scale-invariant signal-to-distortion ratio of waveforms in dB (Le Roux et al. 2019), in phase with the truth."""

    def compare(self, samples: SampleSet) -> Tensor:
        made, truth = in_phase(samples)
        power = truth.square().sum(dim=1, keepdim=True).clamp_min(torch.finfo(truth.dtype).tiny)
        aligned = (made * truth).sum(dim=1, keepdim=True) / power * truth
        return ratio(aligned, made - aligned)


class LogSpectralDistance(PairedMetric):
    """The distance of spectra in dB: root mean square over frequencies, mean over frames (Gray & Markel 1976)."""

    worst = 0.95

    def compare(self, samples: SampleSet) -> Tensor:
        made, truth = (20.0 * magnitudes.log10() for magnitudes in floored(samples))
        return (made - truth).square().mean(dim=1).sqrt().mean(dim=1)


class MelCepstralDistortion(PairedMetric):
    """The distance of mel cepstra 1 to 13 in dB: (10 / ln 10) sqrt(2 sum (c - c')^2), mean over frames (Kubichek 1993).

    Cepstra are orthonormal cosine transforms of the logarithms of 64 mel bands.
    """

    worst = 0.95

    def compare(self, samples: SampleSet) -> Tensor:
        made, truth = floored(samples)
        rate = sample_rate(samples)
        filters = melscale_fbanks(made.shape[1], 0.0, rate / 2, BANDS, rate, norm="slaney").to(made)
        cosines = create_dct(CEPSTRA + 1, BANDS, "ortho")[:, 1:].to(made)
        bands = [torch.einsum("nft,fb->nbt", part, filters).log() for part in (made, truth)]
        cepstra = torch.einsum("nbt,bc->nct", bands[0] - bands[1], cosines)
        return 10.0 / math.log(10.0) * (2.0 * cepstra.square().sum(dim=1)).sqrt().mean(dim=1)


def ratio(signal: Tensor, error: Tensor) -> Tensor:
    """Return 10 log10(|signal|^2 / |error|^2) of rows [n, m] in dB, float64.

    The error is not taken below the signal's rounding, so equal rows have -20 log10(eps): 138.5 dB in float32. A silent
    signal is taken for the least power there is.
    """
    limits = torch.finfo(signal.dtype)
    power = signal.double().square().sum(dim=1).clamp_min(limits.tiny)
    return 10.0 * (power / error.double().square().sum(dim=1).clamp_min(power * limits.eps**2)).log10()


def in_phase(samples: SampleSet) -> tuple[Tensor, Tensor]:
    """Return the waveforms of the samples' magnitudes under the ground truth's phases, and those of the ground truth.

    Both are [n, channels * samples], channel after channel.
    """
    made, truth = _spectra(samples)
    phase = torch.polar(torch.ones_like(truth.abs()), truth.angle())
    return _inverse(made.abs() * phase, samples), _inverse(truth, samples)


def floored(samples: SampleSet) -> tuple[Tensor, Tensor]:
    """Return the magnitudes [n, frequencies, frames] of samples and ground truth, not below the quietest that counts."""
    made, truth = (spectrum.abs() for spectrum in _spectra(samples))
    floor = (QUIETEST * truth.amax(dim=(1, 2), keepdim=True)).clamp_min(torch.finfo(truth.dtype).tiny)
    return made.maximum(floor), truth.maximum(floor)


def sample_rate(samples: SampleSet) -> int:
    """Return the rate in Hz of waveforms [n, samples] or [n, channels, samples]; NotApplicableError if they are no sound."""
    rate = samples.model.sample_rate
    if rate is None or len(samples.form) not in (1, 2):
        raise NotApplicableError("The samples are no sound.")
    return rate


def mono(sounds: Tensor) -> Tensor:
    """Return waveforms [n, samples], the channels of [n, channels, samples] averaged."""
    return sounds.mean(dim=1) if sounds.ndim == 3 else sounds


def _spectra(samples: SampleSet) -> tuple[Tensor, Tensor]:
    """Return the short-time spectra [n, frequencies, frames] of samples and ground truth, frames channel after channel."""
    window, hop = _window(samples)
    made, truth = (
        torch.cat(
            [torch.stft(part, len(window), hop, window=window, return_complex=True) for part in _channels(sounds)], dim=2
        )
        for sounds in (samples.samples.cpu().float(), samples.truth.cpu().float())
    )
    return made, truth


def _inverse(spectra: Tensor, samples: SampleSet) -> Tensor:
    """Return the waveforms [n, channels * samples] of such spectra."""
    window, hop = _window(samples)
    parts = spectra.chunk(len(_channels(samples.truth)), dim=2)
    length = samples.truth.shape[-1]
    return torch.cat([torch.istft(part, len(window), hop, window=window, length=length) for part in parts], dim=1)


def _channels(sounds: Tensor) -> tuple[Tensor, ...]:
    """Return the channels of waveforms, each [n, samples]."""
    return sounds.unbind(dim=1) if sounds.ndim == 3 else (sounds,)


def _window(samples: SampleSet) -> tuple[Tensor, int]:
    size = round(WINDOW_SECONDS * sample_rate(samples))
    return torch.hann_window(size), size // 4
