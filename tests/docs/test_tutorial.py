"""docs/tutorial/plugin.md: every command is run, every file is written, and what is printed is what the page shows."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.docs.replay import forget, replay


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BNSBENCH_PLUGINS", "heun3")
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    forget()


def test_the_tutorial_does_what_it_says(tmp_path):
    steps = list(replay("tutorial/plugin.md"))
    assert [command.split()[1] for command, _, _ in steps if command.startswith("bnsbench")] == [
        "new",
        "check",
        "check",
        "solver",
        "run",
        "leaderboard",
    ]
    for command, said, now in steps:
        assert now == said, command
    tests = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "weights", "bnsbench-heun3/tests"]
    path = {"PYTHONPATH": str(tmp_path / "bnsbench-heun3")}
    done = subprocess.run(tests, cwd=tmp_path, env=path, capture_output=True, text=True, timeout=250, check=False)
    assert "1 passed" in done.stdout, done.stdout + done.stderr
