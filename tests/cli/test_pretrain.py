"""``bnsbench pretrain``."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from bnsbench.models.pretrain import RECIPES


def test_short_training_writes_weights_and_figures(bnsbench, tmp_path):
    done = bnsbench("pretrain", "digits-gmm", "--steps", 1, "--output", "mine", "--quiet")
    assert done.code == 0
    figures = dict(line.split() for line in done.out.splitlines()[1:-1])
    assert 0.0 <= float(figures["accuracy"]) <= 1.0
    assert (tmp_path / "mine" / "digits-gmm.safetensors").is_file()
    assert json.loads((tmp_path / "mine" / "manifest.json").read_text())["digits-gmm"]["training"]["steps"] == 1
    assert done.out.splitlines()[-1] == "weights: mine/digits-gmm.safetensors"


def test_weights_are_measured_when_asked_for(bnsbench, tmp_path):
    command = ("pretrain", "digits-classifier", "--steps", 1, "--output", "mine", "--quiet")
    done = bnsbench(*command, "--no-measure")
    assert done.out.splitlines() == ["weights: mine/digits-classifier.safetensors"]
    assert bnsbench(*command).out.splitlines()[1].startswith("accuracy")


def test_options_reach_the_training(bnsbench, tmp_path):
    done = bnsbench("pretrain", "fashion-classifier", "--data", "nowhere", "--device", "cpu", "--seconds", 1)
    assert done.code == 2
    assert "There is no file nowhere/train-images-idx3-ubyte.gz" in done.err
    assert "trained on cpu or cuda" not in done.err
    assert bnsbench("pretrain", "digits-gmm", "--seconds", 1).code == 2
    assert "no device 'tpu'" in bnsbench("pretrain", "digits-ot", "--device", "tpu").err


def test_check_measures_what_is_shipped(bnsbench, tmp_path):
    done = bnsbench("pretrain", "digits-classifier", "--check")
    assert done.code == 0
    assert float(done.out.splitlines()[1].split()[1]) >= 0.99
    assert not (tmp_path / "weights").exists()


def test_check_says_which_figure_needs_the_data_set(bnsbench, monkeypatch, tmp_path):
    gates, measured = {"accuracy": 0.5, "nearest_ratio": 0.75}, {"nearest_ratio": 0.9}
    data = tmp_path / "data"
    measure: dict[str, Any] = {"measure": lambda folder: {"accuracy": 0.6}, "measure_by_data": lambda folder, data: measured}
    recipe = dataclasses.replace(RECIPES["fashion-ot"], **measure, gates=gates, data=data)
    monkeypatch.setitem(RECIPES, "fashion-ot", recipe)
    done = bnsbench("pretrain", "fashion-ot", "--check")
    assert done.code == 0
    assert done.out.splitlines()[1:] == [
        "accuracy  0.6000",
        "nearest_ratio: not measured, since the data set is not there; name the folder of its files with --data.",
    ]
    data.mkdir()
    done = bnsbench("pretrain", "fashion-ot", "--check")
    assert "not measured" not in done.out
    assert done.out.splitlines()[-1].split() == ["nearest_ratio", "0.9000"]


def test_unknown_name(bnsbench):
    done = bnsbench("pretrain", "digits-nothing")
    assert done.code == 2
    assert "There is no recipe named 'digits-nothing'" in done.err


def test_no_steps(bnsbench):
    done = bnsbench("pretrain", "digits-gmm", "--steps", 0)
    assert done.code == 2
    assert "at least 1 step" in done.err


def test_solvers_of_other_models_are_not_shipped(bnsbench):
    done = bnsbench("pretrain", "ring8", "--solvers")
    assert done.code == 2
    assert "No solvers are shipped for 'ring8', only for" in done.err
