"""``bnsbench check``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bnsbench.testing import records

FAULTY = Path(__file__).parents[1] / "testing" / "faulty_solvers.py"


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setenv("BNSBENCH_PLUGINS", "")
    monkeypatch.setattr(records, "_in_another_process", lambda _: {"modules": []})


def test_sound_solver(bnsbench):
    done = bnsbench("check", "euler")
    assert (done.code, done.err) == (0, "")
    assert "order          passed  Measured 1.00, declared 1.\n" in done.out
    assert done.out.endswith("\nsolver euler of builtin: 16 passed\n")


def test_faulty_solver_and_what_to_do(bnsbench):
    done = bnsbench("check", "overspends", "--plugin", FAULTY)
    assert done.code == 1
    assert "It overspends: asked for 1 evaluations, it used 2.\n" in done.out
    assert "\nbudget: Call the field exactly nfe times, and declare in `budgets` which nfe it can spend.\n" in done.out


def test_hints_do_not_fail(bnsbench):
    done = bnsbench("check", "sound-direct", "--kind", "solver", "--plugin", FAULTY)
    assert done.code == 0
    assert "\ntable: Declare kind='traced'" in done.out


def test_json(bnsbench):
    done = bnsbench("check", "overwrites", "--plugin", FAULTY, "--json")
    assert done.code == 2  # no such name: the solver is called "input"
    done = bnsbench("check", "input", "--plugin", FAULTY, "--json")
    assert done.code == 1
    report = json.loads(done.out)
    assert (report["kind"], report["name"], report["provider"], report["passed"]) == (
        "solver",
        "input",
        "faulty_solvers",
        False,
    )
    [fault] = [each for each in report["checks"] if each["status"] == "failed"]
    assert fault["name"] == "input"


def test_metric_on_a_model(bnsbench):
    done = bnsbench("check", "ssim", "--on", "ring8")
    assert done.code == 1
    assert "It applies to no model that it was tried on. ring8: " in done.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("check", "eulr"), "There is no solver, model or metric 'eulr'; did you mean 'euler'?"),
        (("check", "euler", "--on", "ring8"), "--on is for metrics, and 'euler' is a solver."),
        (("check", "euler", "--kind", "model"), "There is no model 'euler'; choose from"),
    ],
)
def test_misuse(bnsbench, words, said):
    done = bnsbench(*words)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"bnsbench: {said}")
