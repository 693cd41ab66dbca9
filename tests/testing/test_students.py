"""Every check of a distilled solver passes a sound one, and one fails each fault."""

from __future__ import annotations

from pathlib import Path

import pytest

from bnsbench.contract import PluginHost
from bnsbench.testing import check

PLUGIN = Path(__file__).parents[1] / "solvers" / "student_plugin.py"


@pytest.fixture(scope="module")
def host():
    return PluginHost.load([PLUGIN])


@pytest.fixture(autouse=True)
def _in_this_process(in_this_process):
    """List the plugin here: a process for each check would take seconds."""


def found(name, host):
    return {result.name: result for result in check(name, host=host).results}


def test_a_sound_student_passes_everything(host):
    results = found("perfect", host)
    assert {result.status for result in results.values()} == {"passed"}
    assert results["runs"].finding == "It has a student of digits-cos with 1 steps at w = 0."


@pytest.mark.parametrize(
    ("name", "failing"),
    [
        ("overspends", {"budget"}),
        ("forgets", {"input"}),
        ("dull", {"runs"}),
        ("costless", {"refusal"}),
        ("leaky", {"batches", "random state"}),
    ],
)
def test_a_fault_is_found(host, name, failing):
    assert {name for name, result in found(name, host).items() if result.status == "failed"} == failing


def test_students_whose_weights_are_not_here_cannot_be_checked(host, monkeypatch, tmp_path):
    monkeypatch.setattr("bnsbench.models.students.WEIGHTS", tmp_path)
    results = found("pd", host)
    assert {result.status for result in results.values()} == {"passed", "not applicable"}
    assert results["budget"].finding == "It has no student of any model at hand, so nothing of it can be run."
