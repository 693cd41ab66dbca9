from __future__ import annotations

import hashlib
import json
from functools import partial
from pathlib import Path

import pytest
import torch

from bnsbench.errors import CorruptFileError, UsageError
from bnsbench.models.digits.features import digit_classifier
from bnsbench.models.digits.mixture import digits_gmm
from bnsbench.models.digits.model import VARIANTS, digits
from bnsbench.models.fashion.features import fashion_classifier
from bnsbench.models.fashion.model import fashion_ot, fashion_vp
from bnsbench.models.scenes.features import scene_classifier
from bnsbench.models.scenes.model import scenes
from bnsbench.models.speech.features import word_classifier
from bnsbench.models.speech.model import speech
from bnsbench.models.textures import textures
from bnsbench.models.weights import (
    WEIGHTS,
    load_network,
    load_weights,
    read_manifest,
    record_figures,
    save_weights,
    weights_fingerprint,
)
from bnsbench.process.random_states import random_states

TENSORS = {"a": torch.tensor([1.5, -2.25]), "b": torch.ones(2, 3)}


def test_saved_tensors_come_back_in_float32(tmp_path):
    save_weights("net", TENSORS, {"steps": 3}, tmp_path)
    loaded = load_weights("net", tmp_path)
    assert loaded.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert loaded[name].dtype == torch.float32
        assert torch.equal(loaded[name], tensor)  # these values are exact in float16


def test_bytes_are_stored_as_bytes(tmp_path):
    levels = torch.arange(256, dtype=torch.uint8)
    save_weights("pictures", {"levels": levels}, {}, tmp_path)
    assert torch.equal(load_weights("pictures", tmp_path)["levels"], levels.float())
    assert (tmp_path / "pictures.safetensors").stat().st_size < 256 + 200


def test_manifest_records_the_file_s_own_hash_and_keeps_other_entries(tmp_path):
    save_weights("one", TENSORS, {"steps": 1}, tmp_path)
    save_weights("two", TENSORS, {"steps": 2}, tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert {name: entry["training"]["steps"] for name, entry in manifest.items()} == {"one": 1, "two": 2}
    assert manifest["one"]["sha256"] == hashlib.sha256((tmp_path / "one.safetensors").read_bytes()).hexdigest()


def test_figures_are_entered_beside_those_that_are_there(tmp_path):
    save_weights("net", TENSORS, {"steps": 1}, tmp_path)
    content = (tmp_path / "net.safetensors").read_bytes()
    record_figures("net", {"accuracy": 0.123456, "fid": 2.0}, tmp_path)
    record_figures("net", {"fid": 1.0, "nearest_ratio": 0.9}, tmp_path)
    kept = read_manifest(tmp_path)["net"]["training"]
    assert kept == {"steps": 1, "figures": {"accuracy": 0.1235, "fid": 1.0, "nearest_ratio": 0.9}}
    assert (tmp_path / "net.safetensors").read_bytes() == content
    assert load_weights("net", tmp_path).keys() == TENSORS.keys()
    with pytest.raises(UsageError, match="no weights named 'other'"):
        record_figures("other", {}, tmp_path)


def test_a_failed_write_keeps_the_old_weights(tmp_path, monkeypatch):
    save_weights("net", TENSORS, {}, tmp_path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    def fail(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="No space"):
        save_weights("net", {"a": torch.zeros(2)}, {}, tmp_path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


@pytest.mark.parametrize("damage", [lambda f: f.write_bytes(f.read_bytes()[:-1] + b"\x7f"), lambda f: f.unlink()])
def test_altered_or_missing_file_is_refused(tmp_path, damage):
    save_weights("net", TENSORS, {}, tmp_path)
    damage(tmp_path / "net.safetensors")
    with pytest.raises(CorruptFileError, match=r"net\.safetensors"):
        load_weights("net", tmp_path)


def test_unknown_name_lists_the_known_ones(tmp_path):
    save_weights("net", TENSORS, {}, tmp_path)
    with pytest.raises(UsageError, match="known names: net"):
        load_weights("nett", tmp_path)
    with pytest.raises(UsageError, match="known names: none"):
        load_weights("net", tmp_path / "empty")


@pytest.mark.parametrize("name", sorted(read_manifest()))
def test_every_shipped_file_matches_the_manifest_and_is_finite(name):
    assert all(tensor.isfinite().all() for tensor in load_weights(name).values())
    assert weights_fingerprint(name) == hashlib.sha256((WEIGHTS / f"{name}.safetensors").read_bytes()).hexdigest()


def test_every_shipped_file_has_a_training_record():
    for entry in read_manifest().values():
        student = {"model", "guidance", "nfe", "chain"} if "chain" in entry["training"] else set()
        assert entry["training"].keys() - {"device", "seconds"} == {"steps", "seed", "figures"} | student


def test_a_network_comes_with_its_weights_frozen(tmp_path):
    trained = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Dropout())
    save_weights("net", trained.half().float().state_dict(), {}, tmp_path)
    network = load_network(lambda: torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Dropout()), "net", tmp_path)
    weight = network.get_parameter("0.weight")
    assert torch.equal(weight, trained.get_parameter("0.weight"))
    assert not weight.requires_grad
    assert not network.training


LOADERS = {
    **{f"digits {variant}": partial(digits, variant) for variant in VARIANTS},
    **{load.__name__: load for load in (digits_gmm, fashion_ot, fashion_vp, textures, scenes, speech)},
    **{load.__name__: load for load in (digit_classifier, fashion_classifier, scene_classifier, word_classifier)},
}


@pytest.mark.parametrize("name", LOADERS)
def test_loading_leaves_the_random_states_as_they_are(name):
    before = random_states()
    LOADERS[name]()
    assert random_states() == before
