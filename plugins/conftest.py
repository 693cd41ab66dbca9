"""Fixtures for the tests of executors: a small suite that is run by one of them, and workers that are lost on the way."""

from __future__ import annotations

import csv
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

CLOUDS = Path(__file__).parent / "tests" / "two_clouds.py"
TIMINGS = {"seconds", "seconds_training", "seconds_total"}


@pytest.fixture
def run_clouds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[list[str]]]:
    """Run the suite with an empty cache and return its leaderboard, timings aside."""
    import bnsbench

    suite = tmp_path / "clouds.toml"
    suite.write_text(runpy.run_path(str(CLOUDS))["SUITE"])

    def run(executor: str, **options: Any) -> list[list[str]]:
        name = executor.partition("[")[0]
        monkeypatch.setenv("BNSBENCH_CACHE", str(tmp_path / f"{name}-cache"))
        bnsbench.run(suite, plugins=[CLOUDS], executor=executor, results=tmp_path / name, device="cpu", **options)
        rows = list(csv.DictReader((tmp_path / name / "clouds" / "leaderboard.csv").read_text().splitlines()))
        return [[value for column, value in row.items() if column not in TIMINGS] for row in rows]

    return run


@pytest.fixture
def deaths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Let workers die once in the middle of a cell and once in the middle of a training, by a signal; a file tells of each."""

    def arm(signal: str) -> Path:
        folder = tmp_path / "deaths"
        folder.mkdir()
        monkeypatch.setenv("BNSBENCH_DEATHS", str(folder))
        monkeypatch.setenv("BNSBENCH_DEATH_SIGNAL", signal)
        return folder

    return arm


@pytest.fixture
def heard() -> Any:
    """Make a listener to a run that keeps what it hears."""
    from bnsbench.plugin import RunListener

    class Heard(RunListener):
        def __init__(self) -> None:
            self.notices: list[str] = []
            self.begun: list[str] = []
            self.stages: list[str] = []

        def notice(self, text: str) -> None:
            self.notices.append(text)

        def stage(self, text: str) -> None:
            self.stages.append(text)

        def started(self, cell: Any) -> None:
            self.begun.append(cell.key)

    return Heard()
