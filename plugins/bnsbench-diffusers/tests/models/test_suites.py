"""The suites are in order: they can be planned without any of their checkpoints."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .published import PUBLISHED, measured

SAMPLES = {"imagenet64": 50000, "imagenet256-dit": 50000, "text-to-image": 30000, "text-to-audio": 4000}


@pytest.fixture
def suites(bnsbench, capsys) -> dict[str, str]:
    """The files of the package's suites by name, as they are listed."""
    assert bnsbench("list", "suites", "--json") == 0
    listed = json.loads(capsys.readouterr().out)
    return {suite["name"]: suite["file"] for suite in listed if suite["provider"] == "diffusers"}


@pytest.fixture
def plan(bnsbench, capsys, tmp_path, monkeypatch) -> Callable[[str], Any]:
    """Make what a run of a suite would do."""
    monkeypatch.chdir(tmp_path)

    def make(name: str) -> Any:
        assert bnsbench("run", name, "--dry-run", "--json") == 0
        return json.loads(capsys.readouterr().out)

    return make


def models_of(file: str) -> list[dict[str, Any]]:
    return tomllib.loads(Path(file).read_text(encoding="utf-8"))["models"]


def test_all_are_offered(suites):
    assert set(suites) == set(SAMPLES)


@pytest.mark.parametrize(("name", "samples"), SAMPLES.items())
def test_a_suite_can_be_planned(name, samples, plan):
    found = plan(name)
    # Guided evaluations cost two forwards.
    assert {cell["forwards"] / cell["nfe"] for cell in found["cells"]} <= {samples, 2 * samples}
    assert {cell["nfe"] for cell in found["cells"]} == {4, 6, 8, 10, 12, 16, 20}
    assert [cell["skip"] for cell in found["cells"] if cell["skip"]] == []
    assert found["estimate"]["training"] > 0
    assert found["estimate"]["hours"] > 1


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of diffusers at its own imports
@pytest.mark.parametrize("name", PUBLISHED)
def test_networks_have_the_operations_that_the_suites_state(name, suites):
    stated = {model["name"]: model["gflops"] for file in suites.values() for model in models_of(file)}
    (gflops,) = [value for model, value in stated.items() if f"path={name}" in model]
    parameters, counted = measured(name)
    assert parameters == pytest.approx(PUBLISHED[name][1], rel=2e-3)
    assert gflops == pytest.approx(counted, rel=5e-3)
