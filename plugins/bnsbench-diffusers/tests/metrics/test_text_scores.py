"""CLIP score and PickScore against torchmetrics, and against transformers' processor and network called by hand."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import pytest
import torch
from torchmetrics.functional.multimodal import clip_score
from torchvision.transforms.functional import to_pil_image
from transformers import CLIPModel, CLIPProcessor

from bnsbench.plugin import DivergedError, NotApplicableError, UsageError
from bnsbench_diffusers.metrics.encoders import BATCH
from bnsbench_diffusers.metrics.text_scores import ClipScore, PickScore
from bnsbench_diffusers.models.loading import quiet
from bnsbench_diffusers.testing import make_tiny_checkpoint
from bnsbench_diffusers.testing.texts import TOKENS


def loaded(folder):
    with quiet():
        return CLIPModel.from_pretrained(folder).eval(), CLIPProcessor.from_pretrained(folder)


def bytes_of(images):
    return (images * 127.5 + 127.5).round().to(torch.uint8)


def logits(folder, images, texts):
    """What the network says of every image and its own text, by its processor and one call."""
    model, processor = loaded(folder)
    pictures = [to_pil_image(image) for image in bytes_of(images)]
    inputs = processor(text=texts, images=pictures, padding=True, truncation=True, max_length=TOKENS, return_tensors="pt")
    with torch.no_grad():
        return model(**inputs).logits_per_image.diagonal(), model.logit_scale.exp()


@pytest.mark.parametrize("seed", [1, 2, 5])
def test_clip_score_agrees_with_torchmetrics(sample_set, images, tmp_path, seed):
    folder = make_tiny_checkpoint("clip", tmp_path, seed)
    found = ClipScore(str(folder))(sample_set(images))
    model, processor = loaded(folder)
    adapter = SimpleNamespace(
        # torchmetrics expects the tensors that transformers returned before version 5
        get_image_features=lambda pixels: model.get_image_features(pixels).pooler_output,
        get_text_features=lambda ids, mask: model.get_text_features(ids, mask).pooler_output,
        config=model.config,
        to=lambda _: adapter,
    )
    samples = sample_set(images)
    texts = samples.model.texts(samples.condition)
    with torch.no_grad():
        expected = [
            float(clip_score(image, text, lambda: (adapter, processor)))
            for image, text in zip(bytes_of(images), texts, strict=True)
        ]
    assert len(set(expected)) > 2
    assert found.per_sample == pytest.approx(expected, abs=1e-4)
    assert found.value == pytest.approx(sum(expected) / 6, abs=1e-4)
    assert found.low < found.value < found.high


def test_cosines_below_zero_count_as_zero(sample_set, images, tmp_path):
    folder = make_tiny_checkpoint("clip", tmp_path, 2)
    samples = sample_set(images)
    raw, scale = logits(folder, images, samples.model.texts(samples.condition))
    assert bool((raw < 0).any())
    assert bool((raw > 0).any())
    found = ClipScore(str(folder))(samples)
    assert found.per_sample == pytest.approx((100 * raw / scale).clamp_min(0).tolist(), abs=1e-4)


def test_pick_score_is_the_networks_own_logit(clip_folder, sample_set, images):
    truth = images.flip(0)
    samples = sample_set(images, truth)
    texts = samples.model.texts(samples.condition)
    expected, expected_truth = (logits(clip_folder, values, texts)[0] for values in (images, truth))
    found = PickScore(str(clip_folder))(samples)
    assert found.per_sample == pytest.approx(expected.tolist(), abs=1e-4)
    assert found.details["truth"] == pytest.approx(float(expected_truth.mean()), abs=1e-4)
    wins = (expected > expected_truth).double().mean()
    assert 0 < wins < 1
    assert found.details["win_rate"] == pytest.approx(float(wins))


def test_a_tie_is_half_a_win(clip_folder, sample_set, images):
    assert PickScore(str(clip_folder))(sample_set(images)).details["win_rate"] == 0.5
    scores, truth = torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([1.0, 1.0, 5.0, 3.0])
    assert PickScore(str(clip_folder)).further(scores, truth) == {"win_rate": 2.5 / 4}


def test_a_processor_of_its_own(clip_folder, sample_set, images, tmp_path):
    for name in ("config.json", "model.safetensors"):
        shutil.copy(clip_folder / name, tmp_path)
    with pytest.raises(UsageError, match=r"The CLIPProcessor of .* could not be loaded"):
        PickScore(str(tmp_path))(sample_set(images))
    found = PickScore(str(tmp_path), processor=str(clip_folder))(sample_set(images))
    assert found == PickScore(str(clip_folder))(sample_set(images))
    with pytest.raises(UsageError, match="no folder 'nowhere'"):
        PickScore(str(tmp_path), processor="nowhere")


def test_the_truth_has_a_score_of_its_own(clip_folder, sample_set, images):
    metric, truth = ClipScore(str(clip_folder)), images.flip(0)
    found, of_truth = metric(sample_set(images, truth)), metric(sample_set(truth))
    assert found.details["truth"] == pytest.approx(of_truth.value)
    assert of_truth.details["truth"] == of_truth.value != found.value
    assert {"n", "median", "p05"} <= set(found.details)


def test_batches_do_not_matter(clip_folder, sample_set):
    count = BATCH + 7
    values = torch.rand(count, 3, 16, 16) * 2 - 1
    metric = ClipScore(str(clip_folder))
    whole = metric(sample_set(values))
    parts = [metric(sample_set(values).part(slice(k, k + 10))).per_sample for k in range(0, count, 10)]
    assert whole.per_sample == pytest.approx([score for part in parts for score in part], abs=1e-4)


def test_long_texts_are_cut_and_keep_their_end(clip_folder, sample_set, images, told, monkeypatch):
    monkeypatch.setattr(told, "TEXTS", ("a very long text that goes on and on " * 3, "short"))
    samples = sample_set(images)
    expected, scale = logits(clip_folder, images, samples.model.texts(samples.condition))
    found = ClipScore(str(clip_folder))(samples)
    assert found.per_sample == pytest.approx((100 * expected / scale).clamp_min(0).tolist(), abs=1e-4)


def test_one_constant_image(clip_folder, sample_set):
    found = PickScore(str(clip_folder))(sample_set(torch.zeros(1, 3, 16, 16)))
    assert (found.low, found.high) == (None, None)
    assert found.per_sample == [found.value]
    assert torch.tensor(found.value).isfinite()


def test_what_has_no_score(clip_folder, sample_set, images, told):
    metric = ClipScore(str(clip_folder))
    with pytest.raises(NotApplicableError, match="not asked for by any"):
        metric(sample_set(images, condition=None))
    with pytest.raises(NotApplicableError, match="not asked for by any"):
        metric(sample_set(images, model=told.wordless()))
    with pytest.raises(NotApplicableError, match="no images"):
        metric(sample_set(torch.zeros(2, 500)))
    with pytest.raises(NotApplicableError, match="in colour, not of 1 channels"):
        metric(sample_set(torch.zeros(2, 1, 16, 16)))


def test_no_text_at_all(clip_folder, sample_set, images, told, monkeypatch):
    monkeypatch.setattr(told, "TEXTS", ("a text", ""))
    with pytest.raises(NotApplicableError, match="all conditioned on a text"):
        ClipScore(str(clip_folder))(sample_set(images))


def test_samples_that_are_not_finite(clip_folder, sample_set, images):
    broken = images.clone()
    broken[2, 0, 0, 0] = torch.nan
    with pytest.raises(DivergedError, match="1 of 6"):
        ClipScore(str(clip_folder))(sample_set(broken, images))


def test_images_without_variation(clip_folder, sample_set, images):
    """One has the network's own score; if all are so, and the truth is not, nothing was made."""
    flat = torch.zeros_like(images)
    one = images.clone()
    one[2] = 0.3
    metric = ClipScore(str(clip_folder))
    found = metric(sample_set(one, images)).per_sample
    assert found[2] == pytest.approx(metric(sample_set(flat + 0.3)).per_sample[2], abs=1e-4)
    with pytest.raises(DivergedError, match="6 of 6 samples have no variation"):
        metric(sample_set(flat, images))


def test_fingerprints_follow_the_files(clip_folder, tmp_path):
    folder = shutil.copytree(clip_folder, tmp_path / "clip")
    metrics = ClipScore(str(folder)), PickScore(str(clip_folder), processor=str(folder))
    before = [metric.fingerprint() for metric in metrics]
    assert before[0] == ClipScore(str(clip_folder)).fingerprint()
    assert before[1] == PickScore(str(clip_folder)).fingerprint() != before[0]
    (folder / "notes.md").write_text("not read")
    (folder / "pytorch_model.bin").write_bytes(b"not read where there are safetensors")
    assert [metric.fingerprint() for metric in metrics] == before
    other = make_tiny_checkpoint("clip", tmp_path / "other", seed=1)
    shutil.copy(other / "model.safetensors", folder)
    assert all(metric.fingerprint() != old for metric, old in zip(metrics, before, strict=True))


def test_fingerprints_of_the_hub_are_commits(tmp_path, monkeypatch):
    snapshot = tmp_path / "snapshots" / "0123abcd" / "config.json"
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: str(snapshot))
    first = ClipScore("openai/clip-vit-base-patch32").fingerprint()
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: str(snapshot).replace("0123", "4567"))
    assert ClipScore("openai/clip-vit-base-patch32").fingerprint() not in {"", first}
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)
    assert ClipScore("openai/clip-vit-base-patch32").fingerprint() == ""
