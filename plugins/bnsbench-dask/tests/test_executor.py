"""Runs over workers of Dask on this machine: the results are those of one process, whatever happens to the workers."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

import dask
import distributed
import psutil
import pytest

from bnsbench.plugin import BnsbenchError, UsageError
from bnsbench_dask.executor import DaskExecutor

pytestmark = pytest.mark.timeout(900)  # a worker that was lost begins by loading torch, on a machine that may be busy


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    monkeypatch.setenv("BNSBENCH_PLUGINS", "dask")


@pytest.fixture
def scheduler(request) -> Iterator[str]:
    """The address of a scheduler with one worker, which may start processes unless the test asks for one that may not."""
    daemonic = getattr(request, "param", False)
    options = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0", "n_workers": 1, "threads_per_worker": 1}
    with (
        dask.config.set({"distributed.worker.daemon": daemonic}),
        distributed.LocalCluster(**options, memory_limit=0) as cluster,
    ):
        yield cluster.scheduler_address


def test_killed_workers_change_no_result(run_clouds, undisturbed, deaths, heard):
    left = deaths("SIGKILL", "cell", "training")
    assert run_clouds("dask[workers=1]", listener=heard) == undisturbed
    assert not any(left.iterdir())
    assert sum("was lost (a worker of Dask" in notice for notice in heard.notices) == 2
    assert len(set(heard.begun)) == len(undisturbed) == 3


def test_machines_that_share_no_folder_send_back_what_they_make(run_clouds, undisturbed, scheduler, tmp_path):
    assert run_clouds(f'dask[address="{scheduler}",shared=false,tasks=2]') == undisturbed
    made = tmp_path / "clouds"
    assert [file.name.partition("[")[0] for file in (made / "solvers").iterdir()]
    assert len(list((made / "previews").iterdir())) == 3


def test_an_interrupt_ends_what_workers_do(run_clouds, scheduler, heard):
    def interrupt(text):
        raise KeyboardInterrupt

    def children():  # sent as it is, since workers do not find this module
        import multiprocessing

        return len(multiprocessing.active_children())

    heard.stage = interrupt
    with pytest.raises(KeyboardInterrupt):
        run_clouds(f'dask[address="{scheduler}"]', listener=heard)
    with distributed.Client(scheduler, set_as_default=False) as client:
        deadline = time.monotonic() + 30
        while (found := client.run(children)) != dict.fromkeys(found, 0) and time.monotonic() < deadline:
            time.sleep(0.1)
    assert list(found.values()) == [0]


@pytest.mark.parametrize("scheduler", [True], indirect=True)
def test_workers_that_may_start_no_processes_are_told_of(run_clouds, scheduler):
    with pytest.raises(BnsbenchError, match="DASK_DISTRIBUTED__WORKER__DAEMON=False"):
        run_clouds(f'dask[address="{scheduler}"]')


def test_a_cluster_of_its_own_is_for_this_machine_alone():
    with DaskExecutor(workers=1)._client() as client:
        here = psutil.Process()
        (worker,) = client.run(lambda: psutil.Process().pid).values()
        sockets = [*here.net_connections("inet"), *psutil.Process(worker).net_connections("inet")]
        listening = {socket.laddr.ip for socket in sockets if socket.status == psutil.CONN_LISTEN}
    assert listening == {"127.0.0.1"}


@pytest.mark.parametrize("wrong", [{"tasks": -1}, {"workers": -1}, {"attempts": 0}])
def test_what_cannot_be_is_refused(wrong):
    with pytest.raises(UsageError, match="The executor 'dask'"):
        DaskExecutor(**wrong)


def test_a_scheduler_that_is_not_there_is_told_of(run_clouds):
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        pytest.raises(UsageError, match="no scheduler of Dask"),
    ):
        run_clouds('dask[address="tcp://127.0.0.1:9"]')


def test_a_listing_loads_no_dask():
    program = "import sys, bnsbench_dask.plugin as p; list(p.bnsbench_executors()); print('distributed' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
