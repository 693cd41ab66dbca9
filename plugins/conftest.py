"""Fixtures for the tests of executors: a small suite that is run by one of them, and workers that are lost on the way."""

from __future__ import annotations

import csv
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import bnsbench
from bnsbench.plugin import RunListener

CLOUDS = Path(__file__).parent / "tests" / "two_clouds.py"
TIMINGS = {"seconds", "seconds_training", "seconds_total"}


@pytest.fixture
def run_clouds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[list[str]]]:
    """Run the suite with an empty cache and return its leaderboard, timings aside."""
    return lambda executor, **options: _run(tmp_path, monkeypatch, executor, **options)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[list[str]]:
    """The leaderboard of a run in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BNSBENCH_PLUGINS", "")
        return _run(tmp_path_factory.mktemp("undisturbed"), patch, "local")


def _run(folder: Path, patch: pytest.MonkeyPatch, executor: str, **options: Any) -> list[list[str]]:
    suite = folder / "clouds.toml"
    suite.write_text(runpy.run_path(str(CLOUDS))["SUITE"])
    patch.setenv("BNSBENCH_CACHE", str(folder / "cache"))
    bnsbench.run(suite, plugins=[CLOUDS], executor=executor, results=folder, device="cpu", **options)
    rows = list(csv.DictReader((folder / "clouds" / "leaderboard.csv").read_text().splitlines()))
    return [[value for column, value in row.items() if column not in TIMINGS] for row in rows]


@pytest.fixture
def deaths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Let workers die by a signal, once in the middle of a cell or a training; the folder is empty when all have died."""

    def order(signal: str, *where: str) -> Path:
        folder = tmp_path / "deaths"
        folder.mkdir()
        monkeypatch.setenv("BNSBENCH_DEATHS", str(folder))
        for each in where:
            (folder / each).write_text(signal)
        return folder

    return order


@pytest.fixture
def heard() -> Any:
    """Make a listener to a run that keeps what it hears."""

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
