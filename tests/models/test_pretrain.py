from __future__ import annotations

import dataclasses
import json
import math

import pytest
import torch

from bnsbench.errors import UsageError
from bnsbench.models.distillation import NFE
from bnsbench.models.fashion import figures as figures_of_fashion
from bnsbench.models.pretrain import RECIPES, pretrain
from bnsbench.models.recipe import no_figures, recipe_modules
from bnsbench.models.weights import WEIGHTS, load_weights, read_manifest
from tests.models.fashion.files import write_data


def test_unknown_recipe_and_empty_budget_are_refused(tmp_path):
    with pytest.raises(UsageError, match="no recipe named 'digit'"):
        pretrain("digit", tmp_path)
    with pytest.raises(UsageError, match="at least 1 step"):
        pretrain("digits-ot", tmp_path, steps=0)


def test_check_measures_and_trains_nothing(tmp_path):
    assert pretrain("digits-classifier", tmp_path, check=True)["accuracy"] >= 0.99
    assert list(tmp_path.iterdir()) == []


def test_short_training_writes_loadable_weights_and_their_record(tmp_path):
    figures = pretrain("digits-classifier", tmp_path, steps=3, progress=False)
    entry = json.loads((tmp_path / "manifest.json").read_text())["digits-classifier"]
    assert entry["training"] == {"steps": 3, "seed": 0, "figures": {"accuracy": round(figures["accuracy"], 4)}}
    assert load_weights("digits-classifier", tmp_path)["head.weight"].shape == (10, 32)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["digits-classifier.safetensors", "manifest.json"]


def test_check_compares_with_the_data_set_where_it_is_told(tmp_path, monkeypatch):
    by_data = dataclasses.replace(RECIPES["fashion-ot"], measure=no_figures, data=tmp_path / "nowhere")
    monkeypatch.setitem(RECIPES, "fashion-ot", by_data)
    monkeypatch.setattr(figures_of_fashion, "COPYING_SAMPLES", 3)
    assert pretrain("fashion-ot", tmp_path, check=True) == {}
    write_data(tmp_path)
    found = pretrain("fashion-ot", tmp_path, check=True, data=tmp_path)
    assert 0.75 < found["nearest_ratio"] < 1.5  # the files hold noise, from which all clothes are as far
    with pytest.raises(UsageError, match="no file"):
        pretrain("fashion-ot", tmp_path, check=True, data=tmp_path / "nowhere")


def test_courses_that_a_recipe_does_not_know_are_refused(tmp_path, monkeypatch):
    for seconds in (0.0, -1.0, math.nan):
        with pytest.raises(UsageError, match="more than"):
            pretrain("digits-ot", tmp_path, seconds=seconds)
    with pytest.raises(UsageError, match="'digits-gmm' are not made in steps"):
        pretrain("digits-gmm", tmp_path, seconds=1.0)
    with pytest.raises(UsageError, match="leave --data out"):
        pretrain("digits-ot", tmp_path, data=tmp_path)
    with pytest.raises(UsageError, match="leave --data out"):
        pretrain("digits-ot", tmp_path, data=tmp_path, check=True)
    with pytest.raises(UsageError, match="'gpu'; choose auto, cpu"):
        pretrain("fashion-ot", tmp_path, device="gpu")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UsageError, match="'digits-ot' are trained on cpu, not on 'cuda'"):
        pretrain("digits-ot", tmp_path, device="cuda")


def test_data_are_looked_for_where_the_recipe_says_and_where_it_is_told(tmp_path, monkeypatch):
    for recipe in RECIPES.values():
        assert recipe.data is None or str(recipe.data) == "/usr/share/datasets/fashion-mnist"
    with pytest.raises(UsageError, match=f"no file {tmp_path}/train-images"):
        pretrain("fashion-classifier", tmp_path / "weights", data=tmp_path)
    write_data(tmp_path, 2000)
    pretrain("fashion-pictures", tmp_path / "weights", data=tmp_path, progress=False)
    assert load_weights("fashion-pictures", tmp_path / "weights")["levels"].shape == (2000, 1, 28, 28)


def test_seconds_take_the_place_of_steps(tmp_path):
    pretrain("digits-classifier", tmp_path, seconds=1e-3, progress=False)
    assert read_manifest(tmp_path)["digits-classifier"]["training"]["steps"] == 1


def test_weights_can_be_measured_later(tmp_path):
    assert pretrain("digits-classifier", tmp_path, steps=2, measure=False, progress=False) == {}
    assert read_manifest(tmp_path)["digits-classifier"]["training"] == {"steps": 2, "seed": 0}
    trained = (tmp_path / "digits-classifier.safetensors").read_bytes()
    figures = pretrain("digits-classifier", tmp_path, steps=2, progress=False)
    assert 0 <= figures["accuracy"] <= 1
    assert (tmp_path / "digits-classifier.safetensors").read_bytes() == trained
    assert not (tmp_path / "digits-classifier.checkpoint.pt").exists()


@pytest.mark.parametrize(
    "name", ["digits-classifier", "digits-gmm", "fashion-classifier", "scenes-classifier", "speech-classifier"]
)
def test_shipped_weights_pass_their_gate(name):
    RECIPES[name].check(name, RECIPES[name].measure(WEIGHTS))


def test_shipped_record_passes_every_gate():
    entries = read_manifest()
    students = {chain.student(nfe) for module in recipe_modules() for chain in getattr(module, "CHAINS", ()) for nfe in NFE}
    assert set(entries) == (set(RECIPES) - students) | {"digits-ot-pd4"}
    for name, entry in entries.items():
        assert RECIPES[name].unmeasured(entry["training"]["figures"]) == []
        RECIPES[name].check(name, entry["training"]["figures"])
        assert entry["training"]["steps"] >= RECIPES[name].steps
