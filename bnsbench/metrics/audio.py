"""Comparisons of sounds with the ground truth of the same noise: ratios of latents and waveforms, spectral distances."""

from __future__ import annotations

import math
import warnings
from functools import lru_cache

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
SILENCE = 2.0**-16
"""Of full scale: what is quieter everywhere becomes zero in a file of 16 bits."""


class Snr(PairedMetric):
    """The signal-to-noise ratio 10 log10(|truth|^2 / |error|^2) of the ODE's end states in dB, such as log-mel latents.

    Zeros in place of a sample have 0 dB. A truth of zeros has no ratio, and its sample counts 0 dB unless it is zero too.
    """

    def compare(self, samples: SampleSet) -> Tensor:
        made, truth = samples.latents.flatten(1), samples.truth_latents.flatten(1)
        return ratio(truth, made.double() - truth, SILENCE * samples.data_range / 2)


class WaveformSnr(PairedMetric):
    """The signal-to-noise ratio of waveforms in dB, both with the ground truth's phases.

    A vocoder that estimates phases turns nearly equal spectra into waveforms that differ as a whole, so only magnitudes can
    be compared. Silence in place of a sample has 0 dB. A silent truth has no ratio, and its sample counts 0 dB unless it is
    silent too.

    Raises:
        NotApplicableError: If the samples are no sound, as for all metrics of waveforms, or too short for a window.
    """

    def compare(self, samples: SampleSet) -> Tensor:
        made, truth = in_phase(samples)
        return ratio(truth, made - truth, SILENCE)


class SiSdr(PairedMetric):
    """The scale-invariant signal-to-distortion ratio of waveforms in dB (Le Roux et al. 2019), in phase with the truth.

    For silence it is undefined, since any scale of the truth fits it; it counts 0 dB, as for the other ratios, and so does a
    silent truth unless the sample is silent too.
    """

    def compare(self, samples: SampleSet) -> Tensor:
        made, truth = in_phase(samples)
        power = truth.square().sum(dim=1, keepdim=True).clamp_min(torch.finfo(truth.dtype).tiny)
        aligned = (made * truth).sum(dim=1, keepdim=True) / power * truth
        nothing = is_silent(made) & ~is_silent(truth)
        found = ratio(aligned, made - aligned)
        return torch.where(is_silent(truth), ratio(truth, made - truth, SILENCE), found.masked_fill(nothing, 0.0))


class LogSpectralDistance(PairedMetric):
    """The distance of spectra in dB: root mean square over frequencies, mean over frames (Gray & Markel 1976).

    Silence lies at the floor of `floored`, so that it is at most 60 dB away.
    """

    worst = 0.95

    def compare(self, samples: SampleSet) -> Tensor:
        made, truth = (20.0 * magnitudes.log10() for magnitudes in floored(samples))
        return (made - truth).square().mean(dim=1).sqrt().mean(dim=1)


class MelCepstralDistortion(PairedMetric):
    """The distance of mel cepstra 1 to 13 in dB: (10 / ln 10) sqrt(2 sum (c - c')^2), mean over frames (Kubichek 1993).

    Cepstra are orthonormal cosine transforms of the logarithms of 64 mel bands. Silence lies at the floor of `floored`.

    Raises:
        NotApplicableError: If the rate is so low that a band holds no frequency.
    """

    worst = 0.95

    def compare(self, samples: SampleSet) -> Tensor:
        made, truth = floored(samples)
        rate = sample_rate(samples)
        filters = _mel_bands(made.shape[1], rate).to(made)
        cosines = create_dct(CEPSTRA + 1, BANDS, "ortho")[:, 1:].to(made)
        bands = [torch.einsum("nft,fb->nbt", part, filters).log() for part in (made, truth)]
        cepstra = torch.einsum("nbt,bc->nct", bands[0] - bands[1], cosines)
        return 10.0 / math.log(10.0) * (2.0 * cepstra.square().sum(dim=1)).sqrt().mean(dim=1)


def ratio(signal: Tensor, error: Tensor, silence: float = 0.0) -> Tensor:
    """Return 10 log10(|signal|^2 / |error|^2) of every row in dB, float64.

    Neither power is taken below the other's rounding, so equal rows have -20 log10(eps), 138.5 dB in float32, and none has
    less than the negative of that. A silent signal has no ratio: it counts 0 dB, or that maximum if the error is silent.

    Args:
        signal: Rows [n, m].
        error: Rows [n, m].
        silence: A row that is nowhere louder than this is silent.
    """
    limits = torch.finfo(signal.dtype)
    power, noise = (part.double().square().sum(dim=1) for part in (signal, error))
    power = power.clamp_min(limits.tiny).maximum(noise * limits.eps**2)
    found = 10.0 * (power / noise.maximum(power * limits.eps**2)).log10()
    most = torch.full_like(found, -20.0 * math.log10(limits.eps))
    of_silence = torch.where(is_silent(error, silence), most, torch.zeros_like(most))
    return torch.where(is_silent(signal, silence), of_silence, found)


def is_silent(sounds: Tensor, level: float = SILENCE) -> Tensor:
    """Return which rows [n, m] are nowhere louder than a level."""
    return sounds.abs().amax(dim=1) <= level


def in_phase(samples: SampleSet) -> tuple[Tensor, Tensor]:
    """Return the waveforms of the samples' magnitudes under the ground truth's phases, and those of the ground truth.

    Both are [n, channels * samples], channel after channel.
    """
    made, truth = _spectra(samples)
    phase = torch.polar(torch.ones_like(truth.abs()), truth.angle())
    return _inverse(made.abs() * phase, samples), _inverse(truth, samples)


def floored(samples: SampleSet) -> tuple[Tensor, Tensor]:
    """Return the magnitudes [n, frequencies, frames] of samples and ground truth, not below the quietest that counts.

    That is 60 dB below the loudest of the ground truth, or of the sample where the ground truth is silent.
    """
    made, truth = (spectrum.abs() for spectrum in _spectra(samples))
    silent = is_silent(samples.truth.cpu().float().flatten(1))[:, None, None]
    loudest = torch.where(silent, made.maximum(truth), truth).amax(dim=(1, 2), keepdim=True)
    floor = (QUIETEST * loudest).clamp_min(torch.finfo(truth.dtype).tiny)
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
    rate, length = sample_rate(samples), samples.form[-1]
    size = round(WINDOW_SECONDS * rate)
    hop = size // 4
    if hop < 1:
        raise NotApplicableError(
            f"Spectra need sounds at a rate of at least {math.ceil(4 / WINDOW_SECONDS)} Hz, not {rate}."
        )
    # The first frame is centred at the first value, and half of it is mirrored there.
    if length <= size // 2:
        raise NotApplicableError(f"Spectra at {rate} Hz need sounds of more than {size // 2} values, not {length}.")
    return torch.hann_window(size), hop


@lru_cache(maxsize=4)
def _mel_bands(frequencies: int, rate: int) -> Tensor:
    """Return the filters [frequencies, 64]."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an empty band is told of below
        filters: Tensor = melscale_fbanks(frequencies, 0.0, rate / 2, BANDS, rate, norm="slaney")
    if not bool(filters.any(dim=0).all()):
        raise NotApplicableError(f"{BANDS} mel bands need sounds at a higher rate than {rate} Hz: some hold no frequency.")
    return filters
