"""Commands for a model that is named as ``FILE.py:NAME``."""

from __future__ import annotations

import json

import pytest

MODEL = """
from bnsbench.models.mixtures import ring8
mine = ring8()
"""
FEW = ("--nfe", "2", "--solver", "bns[pairs=16,iterations=1]")


@pytest.fixture
def call(bnsbench, tmp_path):
    (tmp_path / "my.py").write_text(MODEL)

    def done(*words):
        found = bnsbench(*words)
        assert found.code == 0, found.err
        return found.out

    return done


def test_train_then_sample(call, tmp_path):
    assert " for mine at guidance 0 and 2 NFE: t.json" in call("train", "my.py:mine", *FEW, "--output", "t.json", "-q")
    assert json.loads((tmp_path / "t.json").read_text())["model"] == "mine"
    assert "on mine: 2 NFE" in call("sample", "my.py:mine", "--solver", "t.json", "--output", "s", "--count", "2")


def test_tune_check_and_show(call):
    tuned = call("tune", "my.py:mine", "--nfe", "2", "--solver", "euler", "--output", "e.json", "-q")
    assert "e.json" in tuned
    assert "0 failed" not in call("check", "my.py:mine")
    assert "euler at 2 NFE on the condot path" in call("solver", "show", "euler", "--nfe", "2", "--model", "my.py:mine")


def test_run_then_verify(call):
    words = ("run", "quick", "--model", "my.py:mine", "--guidance", "0", "--nfe", "2", "--samples", "4", "--metric", "psnr")
    call(*words, "--solver", "euler", "--executor", "local", "-q")
    assert "1 cells run again agree" in call("verify", "runs/quick", "--plugin", "my.py:mine", "-q")
