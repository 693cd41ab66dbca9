"""Every built-in metric, asked about samples that are broken, silent, constant, few or all the same."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor

from bnsbench import builtin
from bnsbench.contract import PluginHost
from bnsbench.contract.sources import BUILTIN
from bnsbench.errors import DivergedError, NotApplicableError
from bnsbench.metrics.base import MetricValue, SampleSet
from bnsbench.metrics.degenerate import is_flat, require_variation, require_variety
from bnsbench.models.digits.data import load_digits
from bnsbench.models.digits.features import digit_features
from bnsbench.models.digits.judge import digit_judge
from bnsbench.models.scenes.data import random_scenes
from bnsbench.models.scenes.features import scene_features
from bnsbench.models.scenes.judge import scene_judge
from bnsbench.models.speech.data import spoken
from bnsbench.models.speech.features import speech_features
from bnsbench.models.speech.judge import speech_judge
from bnsbench.models.speech.model import reference_clips, speech
from tests.metrics.shown import Shown


def noisy(truth: Tensor, size: float) -> Tensor:
    return truth + size * torch.randn(truth.shape, generator=torch.Generator().manual_seed(3))


@cache
def digits() -> SampleSet:
    data = load_digits()
    order = torch.randperm(len(data.images), generator=torch.Generator().manual_seed(4))
    images, labels = data.images[order], data.labels[order]
    model = Shown(features=digit_features(), judge=digit_judge(), data=images[200:900])
    return SampleSet(noisy(images[:200], 0.1), images[:200], labels[:200], 2.0, model)


@cache
def scenes() -> SampleSet:
    images, tokens = random_scenes(40, torch.Generator().manual_seed(5))
    model = Shown(features=scene_features(), judge=scene_judge(), data=images)
    return SampleSet(noisy(images, 0.05), images, tokens, 2.0, model)


@cache
def words() -> SampleSet:
    clips = reference_clips()
    asked = spoken(clips.words, clips.voices)
    model = Shown(features=speech_features(), judge=speech_judge(), data=clips.latents)
    return SampleSet(noisy(clips.latents, 0.1), clips.latents, asked, 2.0, model)


@cache
def sounds() -> SampleSet:
    clips = speech().decode(reference_clips().latents)
    model = Shown(features=speech_features(), data=clips.roll(500, 1), rate=16_000)
    return SampleSet(noisy(clips, 0.0003), clips, None, 2.0, model)


JUDGED: Mapping[Callable[[], SampleSet], tuple[str, ...]] = {
    digits: (
        *("psnr", "ssim", "perceptual", "snr", "accuracy", "inception-score", "preference"),
        *("fid", "fid-gt", "kid", "kid-gt", "precision", "recall"),
        *("density", "density-gt", "coverage", "coverage-gt", "diversity"),
    ),
    scenes: ("psnr", "ssim", "perceptual", "alignment", "preference"),
    words: ("snr", "word-accuracy"),
    sounds: ("psnr", "snr", "waveform-snr", "si-sdr", "log-spectral", "mcd", "fad", "fad-gt"),
}


HOST = PluginHost.load()
PAIRS = [(judged, name) for judged, names in JUDGED.items() for name in names]
OF_LATENTS = {"psnr", "snr"}
NEAREST_TO_TRUTH = {"density", "density-gt", "coverage", "diversity"}
every = pytest.mark.parametrize(("judged", "name"), PAIRS, ids=[f"{judged.__name__}-{name}" for judged, name in PAIRS])


@cache
def metric(name: str):
    few = "[minimum=4]" if "minimum" in HOST.metric(name).spec.parameters else ""
    return HOST.metric(f"{BUILTIN}/{name}{few}").make()


@cache
def decent(judged, name: str) -> float:
    return metric(name)(judged()).value


def gain(name: str, value: float, other: float) -> float:
    """By how much a value is better than another one."""
    return (value - other) * (1 if HOST.metric(name).spec.direction == "higher" else -1)


def one(samples: SampleSet, value: float) -> SampleSet:
    made = samples.latents.clone()
    made[1] = value
    return replace(samples, latents=made)


def everything(samples: SampleSet, value: float) -> SampleSet:
    return replace(samples, latents=torch.full_like(samples.latents, value))


def asked(name: str, samples: SampleSet) -> MetricValue | None:
    """The value, which is finite, or None for samples that are refused with a sentence."""
    try:
        found = metric(name)(samples)
    except (DivergedError, NotApplicableError) as error:
        refusal = str(error)
    else:
        numbers = [found.value, *(found.per_sample or ()), *(found.replicates or ()), *found.details.values()]
        assert all(map(math.isfinite, numbers))
        return found
    assert refusal.endswith(".")
    assert len(refusal) > 20
    return None


def valued(name: str, samples: SampleSet) -> MetricValue:
    """The value of samples that are not refused."""
    found = asked(name, samples)
    assert found is not None
    return found


def test_every_built_in_metric_is_asked():
    names = {spec.name for spec in builtin.bnsbench_metrics()}
    assert names == {name for _, name in PAIRS}


@every
def test_what_is_not_finite_is_diverged(judged, name):
    samples = judged()
    n = len(samples)
    for value, made in ((math.nan, everything), (math.nan, one), (math.inf, one), (-math.inf, everything)):
        count = n if made is everything else 1
        with pytest.raises(DivergedError, match=f"{count} of {n} samples are not finite"):
            metric(name)(made(samples, value))
    truth = samples.truth_latents.clone()
    truth[:2] = math.nan
    with pytest.raises(DivergedError, match=f"2 of {n} ground-truth samples are not finite"):
        metric(name)(replace(samples, truth_latents=truth))


@every
def test_what_decodes_to_nothing_is_diverged(judged, name):
    samples = judged()
    truth = samples.truth_latents

    def decoder(states):
        broken = states.clone()
        broken[:1] = math.nan
        return broken

    broken = replace(samples, decoder=decoder, decoded_truth=lambda: truth)
    if name in OF_LATENTS:
        assert metric(name)(broken).value == decent(judged, name)
    else:
        with pytest.raises(DivergedError, match=f"1 of {len(samples)} decoded samples are not finite"):
            metric(name)(broken)


@every
@pytest.mark.parametrize("value", [0.0, -1.0])
def test_constant_and_silent_samples_never_score_best(judged, name, value):
    for samples in (everything(judged(), value), levels(judged())):
        found = asked(name, samples)
        assert found is None or gain(name, decent(judged, name), found.value) > 0


def levels(samples: SampleSet) -> SampleSet:
    """Each sample constant, and no two the same."""
    steps = torch.linspace(-1, 1, len(samples)).reshape(-1, *[1] * (samples.latents.ndim - 1))
    return replace(samples, latents=steps.expand_as(samples.latents).clone())


@every
def test_copies_of_one_good_sample_never_score_best(judged, name):
    samples = judged()
    copies = samples.truth_latents[:1].expand_as(samples.latents).clone()
    found = asked(name, replace(samples, latents=copies))
    assert found is None or gain(name, decent(judged, name), found.value) > 0


@every
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_one_constant_sample_is_one_of_many(judged, name, value):
    found = valued(name, one(judged(), value))
    moved = gain(name, found.value, decent(judged, name))
    # It does not help, but for what a comparison of few samples scatters, and it does not decide.
    assert moved * len(judged()) < max(1.0, abs(found.value))
    assert abs(moved) * len(judged()) < (250 if HOST.metric(name).spec.unit == "dB" else 15 * max(1.0, abs(found.value)))


@every
def test_silent_ground_truth_does_not_decide(judged, name):
    samples = judged()
    truth = samples.truth_latents.clone()
    truth[1] = 0.0
    found = valued(name, replace(samples, truth_latents=truth))
    assert abs(found.value - decent(judged, name)) * len(samples) < 250
    asked(name, replace(samples, truth_latents=torch.zeros_like(truth)))


@every
def test_equal_samples_are_still_best(judged, name):
    samples = judged()
    same = valued(name, replace(samples, latents=samples.truth_latents.clone()))
    if name in {"kid", "recall", *NEAREST_TO_TRUTH}:  # of which the truth's own are within the scatter
        assert same.value == pytest.approx(same.details["truth"])
    else:
        assert gain(name, same.value, decent(judged, name)) >= 0
    silent = everything(samples, 0.0)
    both = asked(name, replace(silent, truth_latents=silent.latents.clone()))
    other = asked(name, replace(samples, truth_latents=silent.latents.clone()))
    if name == "diversity":  # relative to a ground truth without variety there is none
        assert (both, other) == (None, None)
        return
    either = both or other
    assert either is not None
    if "truth" not in either.details:
        assert both is not None
        assert other is not None
        assert gain(name, both.value, other.value) >= 0


@every
@pytest.mark.parametrize("count", [1, 2, 3, 4, 12])
def test_few_samples_have_a_value_or_a_reason(judged, name, count):
    found = asked(name, judged().part(slice(count)))
    if count == 12:
        assert found is not None
        if name == "diversity":  # which resamples groups of samples
            assert "fewer than 10 groups" in found.info["replicates"]
        else:
            assert (found.replicates is None) == (found.per_sample is not None)


@every
def test_half_precision_decoders_are_judged(judged, name):
    found = valued(name, replace(judged(), decoder=lambda states: states.bfloat16()))
    assert found.value == pytest.approx(decent(judged, name), rel=0.25, abs=0.02)


def test_parts_of_large_sets_are_looked_at_too(monkeypatch):
    samples = digits()
    monkeypatch.setattr("bnsbench.metrics.base.KEPT_NUMBERS", 0)
    monkeypatch.setattr("bnsbench.metrics.base.PART", 150)

    def decoder(states):
        return torch.where(states == samples.latents[180], math.nan, states)

    broken = replace(samples, decoder=decoder, decoded_truth=None)
    for name in ("ssim", "fid", "fid-gt", "inception-score"):
        with pytest.raises(DivergedError, match=r"1 of 50 decoded samples \(151 to 200 of 200\) are not finite"):
            metric(name)(broken)


def test_flat_samples_are_told_apart():
    images = torch.zeros(4, 3, 5, 5)
    images[1] += torch.tensor([1.0, -1.0, 0.3])[:, None, None]
    images[2, 0, 1, 1], images[3, 0, 1, 1] = 0.01, 0.001
    assert is_flat(images).tolist() == [True, True, False, True]
    sounds = torch.zeros(3, 2, 9)
    sounds[1, 1] = 0.4
    sounds[2, 0, 3] = 0.01
    assert is_flat(sounds).tolist() == [True, True, False]
    assert is_flat(sounds[:, 0], 0.1).tolist() == [True, True, True]


def test_what_has_no_variation_or_variety_is_diverged():
    flat, varied = torch.tensor([True, True]), torch.tensor([True, False])
    require_variation(varied, varied)
    require_variation(flat, flat)
    with pytest.raises(DivergedError, match="2 of 2 samples have no variation"):
        require_variation(flat, varied)
    features = torch.ones(5, 3)
    with pytest.raises(DivergedError, match="5 of 5 samples are the same"):
        require_variety(features)
    features[4, 2] += 1e-3
    require_variety(features)
