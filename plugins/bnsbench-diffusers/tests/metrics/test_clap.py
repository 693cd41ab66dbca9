"""CLAP score and distance against transformers' processor and network called by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torchaudio.transforms import Resample
from transformers import ClapFeatureExtractor, ClapModel, ClapProcessor

from bnsbench.plugin import DivergedError, NotApplicableError, UsageError
from bnsbench_diffusers.metrics.checkpoints import load_checkpoint
from bnsbench_diffusers.metrics.clap_distance import fad_clap, fad_clap_gt
from bnsbench_diffusers.metrics.encoders import BATCH, ClapEncoder
from bnsbench_diffusers.metrics.text_scores import ClapScore
from bnsbench_diffusers.models.loading import quiet
from bnsbench_diffusers.testing.checkpoints import SOUND
from bnsbench_diffusers.testing.texts import TOKENS

RATE, LONGEST = SOUND["sampling_rate"], SOUND["sampling_rate"] * SOUND["max_length_s"]
CHIRPS = torch.linspace(1, 9, 6)[:, None]


@pytest.fixture
def clips():
    """Clips [6, 3000] of tones that rise at different speeds, and some noise."""
    time = torch.arange(3000) / RATE
    return (0.5 * torch.sin(900 * CHIRPS * time**2) + 0.05 * torch.randn(6, 3000)).float()


@pytest.fixture
def heard(told):
    """A model of sound at the rate of the tiny CLAP."""
    return told.Told((3000,), RATE)


def outputs(folder, clips, texts):
    with quiet():
        model, processor = ClapModel.from_pretrained(folder).eval(), ClapProcessor.from_pretrained(folder)
    tokens = processor.tokenizer(texts, padding=True, truncation=True, max_length=TOKENS, return_tensors="pt")
    spectra = processor.feature_extractor(list(clips.numpy()), sampling_rate=RATE, return_tensors="pt")
    with torch.no_grad():
        return model(**tokens, **spectra), model.logit_scale_a.exp()


def cosines(folder, clips, texts):
    found, scale = outputs(folder, clips, texts)
    return found.logits_per_audio.diagonal() / scale


def test_the_score_is_the_cosine_that_transformers_gives(clap_folder, sample_set, clips, heard):
    truth = clips.flip(0)
    samples = sample_set(clips, truth, heard)
    texts = heard.texts(samples.condition)
    expected, expected_truth = (100 * cosines(clap_folder, values, texts) for values in (clips, truth))
    assert float(expected.std()) > 0.1
    found = ClapScore(str(clap_folder))(samples)
    assert found.per_sample == pytest.approx(expected.tolist(), abs=1e-3)
    assert found.details["truth"] == pytest.approx(float(expected_truth.mean()), abs=1e-3)
    assert found.low < found.value < found.high


def test_sounds_are_resampled_to_the_rate_of_the_network(clap_folder, sample_set, clips, told):
    model, slow = told.Told((1500,), RATE // 2), clips[:, :1500]
    samples = sample_set(slow, model=model)
    expected = 100 * cosines(clap_folder, Resample(RATE // 2, RATE)(slow), model.texts(samples.condition))
    assert ClapScore(str(clap_folder))(samples).per_sample == pytest.approx(expected.tolist(), abs=1e-3)


def test_channels_are_averaged(clap_folder, sample_set, clips, told, heard):
    stereo = torch.stack([clips, 0.2 * clips.flip(0)], dim=1)
    found = ClapScore(str(clap_folder))(sample_set(stereo, model=told.Told((2, 3000), RATE)))
    mixed = ClapScore(str(clap_folder))(sample_set(stereo.mean(1), model=heard))
    assert found.per_sample == mixed.per_sample
    assert found.value != ClapScore(str(clap_folder))(sample_set(clips, model=heard)).value


def test_of_longer_clips_the_same_part_is_heard(clap_folder, told):
    encoder = ClapEncoder(load_checkpoint("Clap", str(clap_folder)), RATE)
    clips = torch.randn(3, 2 * LONGEST)
    whole = encoder.samples(clips)
    np.random.seed(7)  # noqa: NPY002 (the state that the feature extractor draws from)
    torch.testing.assert_close(encoder.samples(clips[1:]), whole[1:], rtol=0, atol=1e-5)
    assert not torch.allclose(whole[0], whole[1], atol=1e-3)
    with quiet():
        extractor = ClapFeatureExtractor.from_pretrained(clap_folder)
    spectrum, longer = encoder._spectrum(clips[0])
    parts = [
        extractor(clips[0, k : k + LONGEST].numpy(), sampling_rate=RATE, return_tensors="pt") for k in range(LONGEST + 1)
    ]
    assert bool(longer)
    assert any(torch.equal(part["input_features"], spectrum) for part in parts)


def test_no_clip_is_called_longer_by_chance(clap_folder, clips):
    """With fused features, transformers marks a random clip of a batch in which none is longer."""
    checkpoint = load_checkpoint("Clap", str(clap_folder))
    fused = ClapFeatureExtractor(truncation="fusion", **SOUND)
    assert bool(fused(clips[0].numpy(), sampling_rate=RATE, return_tensors="pt")["is_longer"])
    encoder = ClapEncoder(checkpoint, RATE)
    encoder.processor = ClapProcessor(feature_extractor=fused, tokenizer=checkpoint.processor.tokenizer)
    spectrum, longer = encoder._spectrum(clips[0])
    assert spectrum.shape[1] == 4
    assert not bool(longer)
    assert bool(encoder._spectrum(torch.randn(2 * LONGEST))[1])


def test_batches_do_not_matter(clap_folder, sample_set, heard):
    values = 0.1 * torch.randn(BATCH + 5, 3000)
    metric = ClapScore(str(clap_folder))
    whole = metric(sample_set(values, model=heard)).per_sample
    parts = [metric(sample_set(values, model=heard).part(slice(k, k + 23))).per_sample for k in range(0, BATCH + 5, 23)]
    assert whole == pytest.approx([score for part in parts for score in part], abs=1e-3)


def test_one_silent_clip(clap_folder, sample_set, heard):
    found = ClapScore(str(clap_folder))(sample_set(torch.zeros(1, 3000), model=heard))
    assert torch.tensor(found.value).isfinite()
    assert found.low is None


def test_what_has_no_score(clap_folder, clip_folder, sample_set, clips, images, heard, told):
    metric = ClapScore(str(clap_folder))
    with pytest.raises(NotApplicableError, match="not asked for by any"):
        metric(sample_set(clips, model=heard, condition=None))
    with pytest.raises(NotApplicableError, match="are no sound"):
        metric(sample_set(images))
    with pytest.raises(NotApplicableError, match="are no sound"):
        metric(sample_set(clips, model=told.pictures()))
    with pytest.raises(DivergedError, match="6 of 6"):
        metric(sample_set(clips * torch.inf, model=heard))
    with pytest.raises(UsageError, match="holds no checkpoint of CLAP"):
        ClapScore(str(clip_folder))
    with pytest.raises(UsageError, match="give path=FOLDER"):
        fad_clap()


def frechet(a, b):
    """Written out, with SciPy's root of a matrix."""
    means, covariances = zip(*((x.mean(0), np.cov(x.T)) for x in (a.double().numpy(), b.double().numpy())), strict=True)
    root = sqrtm(covariances[0] @ covariances[1])
    return float(np.square(means[0] - means[1]).sum() + np.trace(covariances[0] + covariances[1] - 2 * root.real))


def test_the_distance_is_that_of_embeddings_of_unit_length(clap_folder, sample_set, heard):
    samples, truth = 0.1 * torch.randn(60, 3000), 0.1 * torch.randn(60, 3000).cumsum(1)
    texts = ["a"] * 60
    embedded = [outputs(clap_folder, values, texts)[0].audio_embeds for values in (samples, truth)]
    found = fad_clap_gt(str(clap_folder), minimum=60)(sample_set(samples, truth, heard))
    assert found.value == pytest.approx(frechet(*embedded), rel=1e-3)
    assert found.value > 0.01
    assert fad_clap_gt(str(clap_folder), minimum=60)(sample_set(truth, model=heard)).value == pytest.approx(0, abs=1e-4)


def test_the_distance_to_the_data(clap_folder, sample_set, told):
    model = told.sounds()
    samples = 0.3 * torch.randn(240, 500)
    found = fad_clap(str(clap_folder))(sample_set(samples, model=model))
    resampled = (Resample(1000, RATE)(values) for values in (samples, model.reference().samples))
    embedded = [outputs(clap_folder, values, ["a"] * len(values))[0].audio_embeds for values in resampled]
    assert found.value == pytest.approx(frechet(*embedded), rel=1e-3)
    assert found.details["reference_n"] == 300
    assert found.details["width"] == 16


def test_what_has_no_distance(clap_folder, sample_set, clips, images, heard, monkeypatch):
    with pytest.raises(NotApplicableError, match="needs at least 240 samples, not 6"):
        fad_clap_gt(str(clap_folder))(sample_set(clips, model=heard))
    with pytest.raises(NotApplicableError, match="are no sound"):
        fad_clap_gt(str(clap_folder), minimum=2)(sample_set(images))
    with pytest.raises(DivergedError, match="6 of 6"):
        fad_clap_gt(str(clap_folder), minimum=2)(sample_set(clips * torch.nan, model=heard))
    monkeypatch.setattr(heard, "reference", lambda: None)
    with pytest.raises(NotApplicableError, match="offers no data set"):
        fad_clap(str(clap_folder), minimum=2)(sample_set(clips, model=heard))


def test_the_rate_is_part_of_what_features_are_kept_under(clap_folder, sample_set, clips, told):
    names = {
        fad_clap_gt(str(clap_folder), minimum=2)(sample_set(clips, model=told.Told((3000,), rate))).info["extractor"]
        for rate in (RATE, RATE // 2)
    }
    assert len(names) == 2


def test_silent_sounds(clap_folder, sample_set, clips, heard):
    silent = torch.zeros_like(clips)
    with pytest.raises(DivergedError, match="6 of 6 samples have no variation"):
        ClapScore(str(clap_folder))(sample_set(silent, clips, heard))
    near, far = (fad_clap_gt(str(clap_folder), minimum=2)(sample_set(made, clips, heard)).value for made in (clips, silent))
    assert near == pytest.approx(0, abs=1e-6)
    assert far > 1e-3


def test_fingerprints_are_of_the_checkpoint_and_the_data(clap_folder, tmp_path):
    metric = fad_clap_gt(str(clap_folder))
    assert metric.fingerprint() not in {"", fad_clap(str(clap_folder), data=str(tmp_path)).fingerprint()}
    assert fad_clap(str(clap_folder)).fingerprint() == metric.fingerprint()
    assert ClapScore(str(clap_folder)).fingerprint() != ""
