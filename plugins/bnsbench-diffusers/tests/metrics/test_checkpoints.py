"""Where checkpoints come from, what is refused, and that nothing is loaded twice or taken for another."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import sys

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from bnsbench.plugin import UsageError
from bnsbench_diffusers.metrics import checkpoints
from bnsbench_diffusers.metrics.checkpoints import load_checkpoint, require_place
from bnsbench_diffusers.testing import CHECKPOINTS, make_tiny_checkpoint


@pytest.fixture
def copied(clip_folder, tmp_path):
    return shutil.copytree(clip_folder, tmp_path / "copied")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("", "needs a checkpoint of CLIP: give path=FOLDER"),
        ("nowhere", "no folder 'nowhere'"),
        ("./no/where", "no folder"),
        ("a/b/c", "no hub id"),
    ],
)
def test_no_place(path, words):
    with pytest.raises(UsageError, match=words):
        require_place("CLIP", path)


def test_folders_without_the_network(tmp_path, clap_folder):
    require_place("Clap", str(clap_folder))
    with pytest.raises(UsageError, match="holds no checkpoint of CLIP"):
        require_place("CLIP", str(clap_folder))
    with pytest.raises(UsageError, match="holds no checkpoint of CLIP"):
        require_place("CLIP", str(tmp_path))
    (tmp_path / "config.json").write_text("no json")
    with pytest.raises(UsageError, match="holds no checkpoint of CLIP"):
        require_place("CLIP", str(tmp_path))


def test_a_folder_without_weights(copied):
    (copied / "model.safetensors").unlink()
    with pytest.raises(UsageError, match=r"The CLIPModel of .* could not be loaded"):
        load_checkpoint("CLIP", str(copied))


def test_weights_that_are_not_all_there(copied, capfd):
    """transformers would draw the missing ones at random."""
    weights = load_file(copied / "model.safetensors")
    del weights["visual_projection.weight"]
    save_file(weights, copied / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UsageError, match=r"lacks weights of CLIP, such as visual_projection\.weight"):
        load_checkpoint("CLIP", str(copied))
    capfd.readouterr()


def test_a_hub_id_is_passed_on(clip_folder, monkeypatch):
    asked = []

    def passing_on(name):
        made = getattr(transformers, name).from_pretrained

        def from_pretrained(path, local_files_only, **options):
            asked.append((name, path, local_files_only))
            return made(clip_folder, **options)

        return from_pretrained

    for name in ("CLIPModel", "CLIPProcessor"):
        monkeypatch.setattr(getattr(transformers, name), "from_pretrained", passing_on(name))
    require_place("CLIP", "openai/clip-vit-base-patch32")
    found = load_checkpoint("CLIP", "openai/clip-vit-base-patch32")
    place = "openai/clip-vit-base-patch32"
    assert asked == [("CLIPModel", place, False), ("CLIPProcessor", place, False)]
    monkeypatch.undo()
    assert found.fingerprint == load_checkpoint("CLIP", str(clip_folder)).fingerprint


def test_a_hub_that_does_not_answer(monkeypatch):
    def from_pretrained(path, **options):
        raise OSError("no\nnetwork.")

    monkeypatch.setattr(transformers.CLIPModel, "from_pretrained", from_pretrained)
    with pytest.raises(UsageError, match="The CLIPModel of 'acme/clip' could not be loaded: no network"):
        load_checkpoint("CLIP", "acme/clip")


def test_without_transformers(clip_folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    checkpoints._load.cache_clear()
    with pytest.raises(UsageError, match=r"needs bnsbench-diffusers\[text\]"):
        load_checkpoint("CLIP", str(clip_folder))


def test_a_network_is_frozen_and_in_float32(clip_folder, tmp_path):
    found = load_checkpoint("CLIP", str(clip_folder)).network
    assert not found.training
    assert not any(parameter.requires_grad for parameter in found.parameters())
    transformers.CLIPModel.from_pretrained(clip_folder).to(torch.bfloat16).save_pretrained(tmp_path)
    halved = load_checkpoint("CLIP", str(tmp_path), str(clip_folder)).network
    assert halved.dtype == torch.float32


def test_a_folder_is_loaded_once_while_it_stays_as_it_is(clip_folder, copied, tmp_path):
    first = load_checkpoint("CLIP", str(copied))
    assert load_checkpoint("CLIP", str(copied)) is first
    assert first.fingerprint == load_checkpoint("CLIP", str(clip_folder)).fingerprint
    before = first.network.visual_projection.weight.clone()  # the loaded one lives in its file
    other = make_tiny_checkpoint("clip", tmp_path / "other", seed=1)
    shutil.copy(other / "model.safetensors", copied)
    os.utime(copied / "model.safetensors", (1.0, 1.0))
    second = load_checkpoint("CLIP", str(copied))
    assert not torch.equal(second.network.visual_projection.weight, before)
    assert second.fingerprint == load_checkpoint("CLIP", str(other)).fingerprint != first.fingerprint


def test_a_folder_as_version_4_of_transformers_lays_it_out(clip_folder, tmp_path):
    """Public checkpoints have their preprocessing in a file of its own."""
    original = load_checkpoint("CLIP", str(clip_folder))
    processor = transformers.CLIPProcessor.from_pretrained(clip_folder)
    for part in (original.network, processor.tokenizer, processor.image_processor):
        part.save_pretrained(tmp_path)
    assert (tmp_path / "preprocessor_config.json").is_file()
    assert not (tmp_path / "processor_config.json").exists()
    assert load_checkpoint("CLIP", str(tmp_path)).fingerprint == original.fingerprint


def test_preprocessing_is_part_of_the_fingerprint(clip_folder, copied):
    settings = json.loads((copied / "processor_config.json").read_text())
    settings["image_processor"]["image_mean"] = [0.5, 0.5, 0.5]
    (copied / "processor_config.json").write_text(json.dumps(settings))
    first, second = (load_checkpoint("CLIP", str(folder)) for folder in (clip_folder, copied))
    assert list(second.processor.image_processor.image_mean) == [0.5, 0.5, 0.5]
    assert first.fingerprint != second.fingerprint


def test_loading_keeps_the_random_state(copied):
    before = torch.get_rng_state()
    load_checkpoint("CLIP", str(copied))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("kind", list(CHECKPOINTS))
def test_tiny_checkpoints_from_the_command_line(kind, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["testing", kind, str(tmp_path / kind)])
    runpy.run_module("bnsbench_diffusers.testing", run_name="__main__")
    assert "checkpoint with random weights" in capsys.readouterr().out
    again = make_tiny_checkpoint(kind, tmp_path / "again")
    weights, same = (load_file(folder / "model.safetensors") for folder in (tmp_path / kind, again))
    assert all(torch.equal(weights[name], same[name]) for name in weights)


def test_an_unknown_kind_of_checkpoint(tmp_path):
    with pytest.raises(UsageError, match="choose from clip, clap"):
        make_tiny_checkpoint("glue", tmp_path)
