from __future__ import annotations

from pathlib import Path

import pytest

from bnsbench.contract import PluginHost
from bnsbench.suite.progress import RunListener

PLUGIN = Path(__file__).parent / "tiny_plugin.py"

SUITE = """
name = "small"
samples = 40
batch = 16
nfe = [2, 4]
metrics = ["psnr", "width"]
solvers = ["steps", "pairs", "learned"]

[[models]]
name = "tiny"
guidance = [0.0, 1.0]
tolerance = 1e-5

[[models]]
name = "plain"
tolerance = 1e-5
"""


class Recorder(RunListener):
    """Remembers what a run told it."""

    def __init__(self):
        self.notices, self.begun, self.records, self.stages, self.statuses = [], [], [], [], []

    def notice(self, text):
        self.notices.append(text)

    def started(self, cell):
        self.begun.append(cell)

    def stage(self, text):
        self.stages.append(text)

    def training(self, status):
        self.statuses.append(status)

    def finished(self, cell, record):
        self.records.append(record)


@pytest.fixture(autouse=True)
def _own_world(tmp_path_factory, monkeypatch):
    """Keep tests away from the user's cache and installed plugins, and from each other's thread numbers."""
    monkeypatch.setenv("BNSBENCH_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.setenv("BNSBENCH_PLUGINS", "")
    monkeypatch.setenv("BNSBENCH_THREADS", "1")


@pytest.fixture
def host():
    return PluginHost.load([PLUGIN])


@pytest.fixture
def suite_file(tmp_path):
    file = tmp_path / "small.toml"
    file.write_text(SUITE)
    return file


@pytest.fixture
def recorder():
    return Recorder()
