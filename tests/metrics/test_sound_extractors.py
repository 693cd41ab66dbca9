from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torchaudio.functional import frechet_distance

from bnsbench.errors import NotApplicableError, UsageError
from bnsbench.flows.model import Model
from bnsbench.media.wav import write_wav
from bnsbench.metrics.base import SampleSet
from bnsbench.metrics.distribution import fad, fad_gt
from bnsbench.metrics.sound_extractors import sound_extractor
from bnsbench.models.speech.audio import SAMPLES, log_mel, waveform
from bnsbench.models.speech.features import speech_features, word_classifier
from bnsbench.models.speech.model import reference_clips
from tests.metrics.shown import Shown


def stranger() -> Model:
    """A model of sound without features."""
    return Shown((SAMPLES,), rate=16_000)


def said(made: torch.Tensor, truth: torch.Tensor, model: Model | None = None) -> SampleSet:
    """Samples of a model whose end states are waveforms of the embedded corpus."""
    return SampleSet(made, truth, None, 2.0, model or Shown((SAMPLES,), speech_features(), rate=16_000))


@pytest.fixture(scope="module")
def sounds() -> torch.Tensor:
    """The shipped clips [48, 16384]."""
    return waveform(reference_clips().latents)


def noisy(sounds: torch.Tensor, size: float) -> torch.Tensor:
    return sounds + size * torch.randn(sounds.shape, generator=torch.Generator().manual_seed(0))


def expected(made: torch.Tensor, truth: torch.Tensor) -> float:
    """The distance by torchaudio's own formula."""
    return float(
        frechet_distance(made.double().mean(0), made.double().T.cov(), truth.double().mean(0), truth.double().T.cov())
    )


def test_embedded_features_are_the_recogniser_s(sounds):
    extractor = sound_extractor(said(sounds, sounds))
    features = extractor.features(sounds)
    torch.testing.assert_close(features, word_classifier().features(log_mel(sounds)), atol=1e-4, rtol=1e-4)
    assert features.shape == (48, extractor.width)


def test_an_exported_network_gives_torchaudio_s_distance(sounds, tmp_path: Path):
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Unflatten(1, (1, SAMPLES)), nn.Conv1d(1, 6, 512, stride=256), nn.ReLU(), nn.AdaptiveAvgPool1d(1)
    )
    rows = torch.export.Dim("rows", min=2, max=4096)
    exported = torch.export.export(network, (torch.zeros(4, SAMPLES),), dynamic_shapes=({0: rows},))
    torch.export.save(exported, tmp_path / "vggish.pt2")
    made = noisy(sounds, 0.05)
    result = fad_gt(str(tmp_path / "vggish.pt2"), minimum=48)(said(made, sounds, stranger()))
    features = [network(part).flatten(1).detach() for part in (made, sounds)]
    assert result.value == pytest.approx(expected(*features), rel=1e-3, abs=1e-9)
    assert result.details["width"] == 6


def test_channels_are_averaged(sounds):
    made, difference = noisy(sounds, 0.05), noisy(torch.zeros_like(sounds), 0.1)
    stereo, reference = (torch.stack([part + difference, part - difference], dim=1) for part in (made, sounds))
    mono = fad_gt(minimum=48)(said(made, sounds)).value
    assert fad_gt(minimum=48)(said(stereo, reference)).value == pytest.approx(mono, rel=1e-3)


def test_distance_grows_with_the_noise(sounds):
    values = [fad_gt(minimum=48)(said(noisy(sounds, size), sounds)).value for size in (0.0, 0.01, 0.1)]
    assert values == sorted(values)
    assert values[0] == pytest.approx(0, abs=1e-3)


def test_what_cannot_be_compared_is_refused(sounds, tmp_path: Path, sample_set, images):
    with pytest.raises(NotApplicableError, match="48 features needs at least 720 samples, not 48"):
        fad_gt()(said(sounds, sounds))
    with pytest.raises(NotApplicableError, match="offers no data set"):
        fad(minimum=48)(said(sounds, sounds))
    with pytest.raises(NotApplicableError, match="give network=FILE"):
        fad_gt()(said(sounds, sounds, stranger()))
    with pytest.raises(NotApplicableError, match="no sound"):
        fad_gt()(sample_set(images.samples[:4], images.samples[:4]))
    with pytest.raises(UsageError, match=r"no network file .*absent\.pt2"):
        fad_gt(str(tmp_path / "absent.pt2"))(said(sounds, sounds))
    (tmp_path / "text.pt2").write_text("hello")
    with pytest.raises(UsageError, match="is no exported network"):
        fad_gt(str(tmp_path / "text.pt2"))(said(sounds, sounds))


def test_distance_to_sounds_in_a_folder(sounds, tmp_path: Path):
    for number, sound in enumerate(sounds):
        write_wav(tmp_path / f"{number:02}.wav", sound, 16_000)
    made = noisy(sounds, 0.05)
    found = fad(minimum=48, data=str(tmp_path))(said(made, sounds))
    features = [word_classifier().features(log_mel(part)) for part in (made, sounds)]
    assert found.value == pytest.approx(expected(*features), rel=0.01)
    assert found.details["reference_n"] == 48
    assert found.info["reference_kind"] == "sounds"
    write_wav(tmp_path / "00.wav", sounds[0, :100], 16_000)
    with pytest.raises(UsageError, match=r"00\.wav has 100 values at 16000 Hz and the samples have 16384"):
        fad(minimum=48, data=str(tmp_path))(said(made, sounds))


def exported(network: nn.Module, file: Path, rows: object = None) -> str:
    shapes = None if rows is None else ({0: rows},)
    torch.export.save(torch.export.export(network, (torch.zeros(4, SAMPLES),), dynamic_shapes=shapes), file)
    return str(file)


class Loudness(nn.Module):
    """One feature."""

    def forward(self, waveforms):
        return waveforms.abs().mean(dim=1, keepdim=True)


class Joint(nn.Module):
    """One row for all."""

    def forward(self, waveforms):
        return waveforms.mean(dim=0, keepdim=True)[:, :4]


def test_one_feature_is_enough(sounds, tmp_path: Path):
    file = exported(Loudness(), tmp_path / "one.pt2", torch.export.Dim("rows", min=2, max=4096))
    made = noisy(sounds, 0.05)
    loud = [part.abs().mean(dim=1).double() for part in (made, sounds)]
    expected = (loud[0].mean() - loud[1].mean()) ** 2 + (loud[0].std() - loud[1].std()) ** 2
    result = fad_gt(file)(said(made, sounds, stranger()))
    assert result.value == pytest.approx(float(expected), rel=1e-4)
    assert result.replicates is not None
    assert len(result.replicates) == 100


def test_networks_that_do_not_fit_are_named(sounds, tmp_path: Path):
    rows = torch.export.Dim("rows", min=2, max=4096)
    file = exported(Loudness(), tmp_path / "long.pt2", rows)
    with pytest.raises(UsageError, match=r"long\.pt2 does not take sounds of 100 values"):
        fad_gt(file, minimum=2)(said(sounds[:, :100], sounds[:, :100], stranger()))
    with pytest.raises(UsageError, match="gives 1 rows of features for two sounds"):
        fad_gt(exported(Joint(), tmp_path / "joint.pt2", rows), minimum=2)(said(sounds, sounds, stranger()))
    with pytest.raises(NotApplicableError, match="knows clips of 16384 values, not of 100"):
        fad_gt(minimum=2)(said(sounds[:, :100], sounds[:, :100]))


def test_a_changed_network_is_loaded_again(sounds, tmp_path: Path):
    rows, file = torch.export.Dim("rows", min=2, max=4096), tmp_path / "network.pt2"
    metric = fad_gt(exported(Loudness(), file, rows))
    first, before = metric(said(noisy(sounds, 0.05), sounds, stranger())), metric.fingerprint()
    exported(nn.Sequential(Loudness(), nn.ReLU(), nn.Linear(1, 2, bias=False)), file, rows)
    second = metric(said(noisy(sounds, 0.05), sounds, stranger()))
    assert (first.details["width"], second.details["width"]) == (1, 2)
    assert metric.fingerprint() != before
    assert first.info["extractor"] != second.info["extractor"]
