"""Kill a run at any moment and issue it again: nothing is lost, and the leaderboard is that of an undisturbed run."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from bnsbench.report.leaderboard import TIMINGS
from bnsbench.report.results import read_leaderboard
from bnsbench.report.tables import csv
from bnsbench.suite.store import ResultStore

CELLS = 18

PROGRAM = """
import sys
from pathlib import Path
from bnsbench.api.running import run
if __name__ == "__main__":
    run(sys.argv[1], plugins=[sys.argv[2]], results=Path(sys.argv[3]), device="cpu", executor=sys.argv[4])
"""


@pytest.fixture
def start(tmp_path, suite_file, host):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)

    def start(folder, executor="local", training="0.1"):
        command = [sys.executable, str(program), str(suite_file), str(host.files[0]), str(tmp_path / folder), executor]
        # Every run starts with an empty cache, so that it can be killed while it solves ground truth, too.
        environment = {**os.environ, "BNSBENCH_CACHE": str(tmp_path / f"{folder}-cache"), "TINY_TRAINING_SECONDS": training}
        return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)

    return start


def leaderboard(folder):
    frame = read_leaderboard(ResultStore(folder / "small"))
    return csv(frame.drop(columns=list(TIMINGS)))


def _finished(folder):
    return {file.name: file.read_bytes() for file in (folder / "small" / "cells").glob("[!.]*.json")}


def _kill_after(process, folder, cells, delay):
    """Kill the process once so many cells are finished and a moment has passed."""
    deadline = time.monotonic() + 120
    while len(_finished(folder)) < cells and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    process.communicate()


@pytest.mark.parametrize("executor", ["local", "processes[workers=1]"])
def test_killed_runs_end_in_the_same_leaderboard(start, tmp_path, executor):
    undisturbed = start("undisturbed", training="0")
    moments = random.Random(0)  # noqa: S311
    done: dict[str, bytes] = {}
    for cells in (0, 1, 3, 6, 9, 13, 17) if executor == "local" else (4, 11):
        _kill_after(start("killed", executor), tmp_path / "killed", cells, moments.uniform(0, 0.15))
        now = _finished(tmp_path / "killed")
        assert {name: now.get(name) for name in done} == done, "a finished cell was lost or run again"
        done = now
    last = start("killed", executor)
    assert last.communicate()[1].decode() == ""
    now = _finished(tmp_path / "killed")
    assert {name: now[name] for name in done} == done
    assert len(now) == CELLS
    assert undisturbed.communicate()[1].decode() == ""
    assert leaderboard(tmp_path / "killed") == leaderboard(tmp_path / "undisturbed")


def test_finished_run_is_quick_and_changes_nothing(start, tmp_path):
    start("results", training="0").communicate()
    before = {file: file.read_bytes() for file in (tmp_path / "results").rglob("*") if file.is_file()}
    again = start("results", training="not a number, so training would raise")
    assert again.communicate()[1].decode() == ""
    assert {file: file.read_bytes() for file in (tmp_path / "results").rglob("*") if file.is_file()} == before
