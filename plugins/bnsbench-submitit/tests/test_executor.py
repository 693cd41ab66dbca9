"""Runs over submitit's executor for this machine: the results are those of one process, whatever happens to the jobs."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bnsbench.plugin import UsageError
from bnsbench_submitit import executor
from bnsbench_submitit.executor import SubmititExecutor

LOCAL = "submitit[cluster=local,jobs=1]"


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    monkeypatch.setenv("BNSBENCH_PLUGINS", "submitit")
    monkeypatch.setattr(executor, "POLL", 0.05)


@pytest.mark.parametrize(("signal", "again"), [("SIGKILL", 2), ("SIGUSR2", 0)])
def test_killed_and_requeued_jobs_change_no_result(run_clouds, deaths, heard, tmp_path, signal, again):
    alone = run_clouds("local")
    folder = deaths(signal)
    assert run_clouds(LOCAL, listener=heard) == alone
    assert {file.name for file in folder.iterdir()} == {"cell", "training"}
    assert sum("was lost (job" in notice for notice in heard.notices) == again
    assert len(set(heard.begun)) == len(alone) == 6
    assert not list((tmp_path / "submitit/clouds/submitit").glob("messages-*"))


def test_an_interrupt_cancels_the_jobs(run_clouds, heard, tmp_path):
    def interrupt(cell):
        raise KeyboardInterrupt

    heard.started = interrupt
    with pytest.raises(KeyboardInterrupt):
        run_clouds(LOCAL, listener=heard)
    assert processes(str(tmp_path)) == []


def processes(word: str) -> list[str]:
    """Return what runs with that word in its command, after a moment in which it may end."""
    import time

    for _ in range(100):
        found = subprocess.run(["pgrep", "-af", word], capture_output=True, text=True, check=False).stdout.splitlines()
        if not found:
            return []
        time.sleep(0.1)
    return found


@pytest.mark.parametrize("wrong", [{"jobs": 0}, {"minutes": 0}, {"cpus": 0}, {"attempts": 0}, {"gpus": -1}, {"cluster": "pbs"}])
def test_what_cannot_be_is_refused(wrong):
    with pytest.raises(UsageError, match="The executor 'submitit'"):
        SubmititExecutor(**wrong)


def test_a_listing_loads_no_submitit():
    program = "import sys, bnsbench_submitit.plugin as p; list(p.bnsbench_executors()); print('submitit' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
