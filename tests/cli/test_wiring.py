"""A model that is told the wrong time: whoever trains for it or runs it hears of it, once."""

from __future__ import annotations

import pytest

REVERSED = """
from bnsbench.plugin import ModelSpec, hookimpl

@hookimpl
def bnsbench_models():
    yield ModelSpec("backwards", ":make", "A ring of Gaussians that is told the wrong time.")

def make():
    from bnsbench.models.mixtures import ring8

    class Backwards(type(ring8())):
        def predict(self, t, x, condition):
            return super().predict(1 - t, x, condition)

    made = ring8()
    made.__class__ = Backwards
    return made
"""
SAID = "The model backwards: it does not look like a velocity on the path condot: "
FEW = ("--nfe", "2", "--solver", "bns[pairs=16,iterations=1]")


@pytest.fixture
def told(bnsbench, tmp_path, monkeypatch):
    """Run a command with the model's plugin and return what it says on stderr."""
    monkeypatch.setattr("bnsbench.truth.wiring._asked", set())
    (tmp_path / "backwards.py").write_text(REVERSED)

    def run(*words):
        done = bnsbench(*words, "--plugin", "backwards.py", "--quiet")
        assert done.code == 0, done.err
        return done.err

    return run


def test_training_tells(told):
    assert told("train", "backwards", *FEW, "--output", "t.json").count(SAID) == 1


def test_a_run_tells_once(told):
    words = [
        "run",
        "quick",
        "--model",
        "backwards",
        "--guidance",
        "0",
        "--nfe",
        "1,2",
        "--samples",
        "4",
        "--solver",
        "euler",
    ]
    assert told(*words, "--metric", "psnr", "--executor", "local").count(SAID) == 1
    assert SAID not in told(*words, "--metric", "psnr", "--executor", "local", "--fresh")
