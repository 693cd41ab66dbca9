"""Worker processes: how many there are, and main programs that they cannot be started from."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys

import pytest

from bnsbench.errors import UsageError
from bnsbench.suite import processes
from bnsbench.suite.processes import ProcessExecutor, leave_if_starting

UNGUARDED = """
import sys
from pathlib import Path
from bnsbench.contract import PluginHost
from bnsbench.suite.progress import RunListener
from bnsbench.suite.run import RunOptions, run_suite

def main():
    host = PluginHost.load([Path(sys.argv[2])])
    choice = {"solvers": "steps", "models": "tiny", "nfe": [2, 4], "guidance": 0.0, "device": "cpu"}
    options = RunOptions(sys.argv[1], results=sys.argv[3], executor="processes", workers=2, **choice)
    print(run_suite(options, host, RunListener()).counts)

"""


@pytest.mark.parametrize(
    ("devices", "cores", "threads", "workers"),
    [(["cpu"], 8, 2, 4), (["cpu"], 7, 2, 3), (["cpu"], 2, 4, 1), (["cuda:0", "cuda:1"], 8, 1, 2)],
)
def test_workers_share_the_cores_by_their_threads(monkeypatch, devices, cores, threads, workers):
    monkeypatch.setattr(processes, "cores", lambda: cores)
    monkeypatch.setattr(processes, "threads", lambda: threads)
    assert processes._default_workers(devices) == workers


@pytest.mark.parametrize("workers", [-1, -7])
def test_a_number_of_workers_that_cannot_be_is_a_usage_error(workers):
    with pytest.raises(UsageError, match=f"at least 1, not {workers}"):
        ProcessExecutor(workers)


@pytest.fixture
def start(tmp_path, suite_file, host):
    """Start a program that runs two cells in worker processes, and return what it has printed."""

    def start(text):
        program = tmp_path / "program.py"
        program.write_text(text)
        command = [sys.executable, str(program), str(suite_file), str(host.files[0]), str(tmp_path / "results")]
        return subprocess.run(command, env=dict(os.environ), capture_output=True, text=True, check=False, timeout=240)

    return start


def test_a_main_program_without_a_guard_is_told_in_one_sentence(start, tmp_path):
    done = start(UNGUARDED + "main()\n")
    assert done.returncode == 1
    assert done.stderr.count("Traceback") == 1, "that of the program's own error alone"
    assert done.stderr.strip().splitlines()[-1] == (
        "bnsbench.errors.UsageError: Worker processes import the main program, and this one runs cells when it is imported:"
        ' put that under `if __name__ == "__main__":`, or choose executor="local".'
    )
    assert "bootstrapping" not in done.stderr
    assert list((tmp_path / "results").glob("small/cells/*")) == []


def test_a_main_program_with_a_guard_runs(start):
    done = start(UNGUARDED + 'if __name__ == "__main__":\n    main()\n')
    assert (done.stdout, done.stderr) == ("{'ok': 2}\n", "")


def test_only_a_starting_worker_leaves(monkeypatch):
    left: list[int] = []
    monkeypatch.setattr(os, "_exit", left.append)
    leave_if_starting()
    assert left == []
    monkeypatch.setattr(multiprocessing.current_process(), "name", processes.STARTING)
    leave_if_starting()
    assert left == [processes.UNGUARDED]
