"""Runs over submitit's executor for this machine: the results are those of one process, whatever happens to the jobs."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from bnsbench.plugin import UsageError
from bnsbench_submitit import executor
from bnsbench_submitit.executor import SubmititExecutor

LOCAL = "submitit[cluster=local,jobs=1]"


pytestmark = pytest.mark.timeout(900)  # a worker that was lost begins by loading torch, on a machine that may be busy


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    monkeypatch.setenv("BNSBENCH_PLUGINS", "submitit")
    monkeypatch.setattr(executor, "POLL", 0.05)


def test_killed_jobs_change_no_result(run_clouds, undisturbed, deaths, heard, tmp_path):
    left = deaths("SIGKILL", "cell", "training")
    assert run_clouds(LOCAL, listener=heard) == undisturbed
    assert not any(left.iterdir())
    assert sum("was lost (job" in notice for notice in heard.notices) == 2
    assert len(set(heard.begun)) == len(undisturbed) == 3
    assert not list((tmp_path / "clouds/.submitit").glob("messages-*"))


def test_a_requeued_job_goes_on(run_clouds, undisturbed, deaths, heard):
    left = deaths("SIGUSR2", "cell")
    assert run_clouds(LOCAL, listener=heard) == undisturbed
    assert not any(left.iterdir())
    assert not any("was lost" in notice for notice in heard.notices)
    assert sum("euler" in key for key in heard.begun) == 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # submitit does not wait for its own process
def test_an_interrupt_cancels_the_jobs(run_clouds, heard, tmp_path):
    def interrupt(cell):
        raise KeyboardInterrupt

    heard.started = interrupt
    with pytest.raises(KeyboardInterrupt):
        run_clouds(LOCAL, listener=heard)
    assert processes(str(tmp_path)) == []


def processes(word: str) -> list[str]:
    """Return what runs with that word in its command, after a moment in which it may end."""
    for _ in range(100):
        found = subprocess.run(["/usr/bin/env", "pgrep", "-af", word], capture_output=True, text=True, check=False)
        if not found.stdout:
            return []
        time.sleep(0.1)
    return found.stdout.splitlines()


@pytest.mark.parametrize(
    "wrong", [{"jobs": 0}, {"minutes": 0}, {"cpus": 0}, {"attempts": 0}, {"gpus": -1}, {"cluster": "pbs"}]
)
def test_what_cannot_be_is_refused(wrong):
    with pytest.raises(UsageError, match="The executor 'submitit'"):
        SubmititExecutor(**wrong)


def test_a_listing_loads_no_submitit():
    program = "import sys, bnsbench_submitit.plugin as p; list(p.bnsbench_executors()); print('submitit' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
