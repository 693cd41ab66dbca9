from __future__ import annotations

import json

import pytest

from bnsbench.errors import UsageError
from bnsbench.models.pretrain import RECIPES, pretrain
from bnsbench.models.weights import WEIGHTS, load_weights, read_manifest


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


@pytest.mark.parametrize("name", ["digits-classifier", "digits-gmm", "scenes-classifier", "speech-classifier"])
def test_shipped_weights_pass_their_gate(name):
    RECIPES[name].check(name, RECIPES[name].measure(WEIGHTS))


def test_shipped_record_passes_every_gate():
    entries = read_manifest()
    assert set(entries) == set(RECIPES)
    for name, entry in entries.items():
        RECIPES[name].check(name, entry["training"]["figures"])
        assert entry["training"]["steps"] >= RECIPES[name].steps
