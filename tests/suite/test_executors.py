from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from bnsbench.suite import cells, executors, processes
from bnsbench.suite.context import Job
from bnsbench.suite.executors import ENOUGH_FOR_PROCESSES, worth_processes
from bnsbench.suite.progress import RunListener
from bnsbench.suite.run import RunOptions, run_suite
from bnsbench.suite.store import ResultStore, StorageError


@pytest.fixture
def run(suite_file, tmp_path, host, recorder):
    def run(folder="results", **changes):
        options = RunOptions(str(suite_file), **{"results": tmp_path / folder, "device": "cpu", "nfe": [4], **changes})
        outcome = run_suite(options, host, recorder)
        return outcome, list(ResultStore(outcome.folder).records())

    return run


def test_processes_give_the_same_results_as_this_process(run, recorder):
    _, here = run()
    outcome, there = run("there", executor="processes", workers=2)
    assert outcome.counts == {"ok": 9}
    for a, b in zip(here, there, strict=True):
        assert (a.key, a.metrics, a.per_sample, a.solver) == (b.key, b.metrics, b.per_sample, b.solver)
    assert any("ground truth" in text or "metrics" in text for text in recorder.stages)


@pytest.mark.parametrize(
    ("device", "cores", "cells", "worth"),
    [
        ("cpu", 2, ENOUGH_FOR_PROCESSES, True),
        ("cpu", 2, ENOUGH_FOR_PROCESSES - 1, False),
        ("cpu", 1, 1000, False),
        ("cuda", 1, ENOUGH_FOR_PROCESSES, True),
        ("cuda:0", 8, 1000, False),
    ],
)
def test_processes_are_worth_it_for_many_cells_on_several_cores(monkeypatch, device, cores, cells, worth):
    monkeypatch.setattr(executors, "cores", lambda: cores)
    assert worth_processes(device, cells) == worth


@pytest.mark.parametrize(
    ("device", "workers", "places"),
    [
        ("cuda", 0, ["cuda:0", "cuda:1", "cuda:2"]),
        ("cuda", 5, ["cuda:0", "cuda:1", "cuda:2", "cuda:0", "cuda:1"]),
        ("cuda:1", 0, ["cuda:1"]),
        ("cuda:1", 2, ["cuda:1", "cuda:1"]),
        ("cpu", 2, ["cpu", "cpu"]),
    ],
)
def test_workers_take_turns_over_devices(host, tmp_path, monkeypatch, device, workers, places):
    class Worker:
        busy = False

        def __init__(self, job):
            seen.append(job.device)

        def take(self, queues, listener):
            return False

    seen: list[str] = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(processes, "_Worker", Worker)
    cells: list[Any] = [SimpleNamespace(field_digest=str(i)) for i in range(8)]
    job = Job(host, ResultStore(tmp_path), tmp_path, batch=1, threads=1, device=device)
    assert list(processes.ProcessExecutor(workers).execute(cells, job, RunListener())) == []
    assert seen == places


def test_cells_compute_float32_in_full_whatever_this_process_does(run, monkeypatch):
    seen = []
    compute = cells.run_cell

    def run_cell(*arguments):
        seen.append((torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32))
        return compute(*arguments)

    monkeypatch.setattr(cells, "run_cell", run_cell)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    run(solvers=["steps"], models=["tiny"], guidance=[0.0], executor="local")
    assert seen == [("highest", False)]
    assert torch.backends.cudnn.allow_tf32


def test_a_crash_and_a_hang_cost_one_cell_each(run):
    outcome, records = run(
        solvers=["steps", "dies", "hangs", "learned"],
        models=["tiny"],
        guidance=[0.0],
        executor="processes",
        workers=1,
        timeout=15.0,  # a fresh worker on a loaded machine needs seconds for its first honest cell
    )
    found = {record.cell["solver"]["name"]: (record.status, record.reason) for record in records}
    assert found["steps"][0] == found["learned"][0] == "ok"
    assert found["dies"] == ("failed", "its worker process died (exit code 7)")
    assert found["hangs"] == ("timeout", "it took longer than the suite's timeout")
    assert outcome.exit_code == 1


def test_local_timeout_interrupts_the_cell_and_goes_on(run):
    outcome, records = run(solvers=["hangs", "steps"], models=["tiny"], guidance=[0.0], timeout=3.0)
    assert [record.status for record in records] == ["timeout", "ok"]
    assert outcome.exit_code == 1


def test_interrupt_in_the_middle_keeps_what_is_finished(run, recorder, monkeypatch):
    finish = recorder.finished

    def interrupt(cell, record):
        finish(cell, record)
        if len(recorder.records) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(recorder, "finished", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(executor="processes", workers=1)
    monkeypatch.setattr(recorder, "finished", finish)
    assert run()[0].ran == 6


def test_solver_that_cannot_be_stored_ends_the_run(run, tmp_path):
    (tmp_path / "results" / "small").mkdir(parents=True)
    (tmp_path / "results" / "small" / "solvers").write_text("in the way")
    with pytest.raises(StorageError, match="the same command resumes"):
        run(executor="processes", workers=1, solvers=["learned"])


@pytest.mark.parametrize("executor", ["local", "processes"])
def test_a_timeout_that_is_over_at_once_ends_no_run(run, executor):
    outcome, records = run(solvers=["steps", "learned"], models=["tiny"], guidance=[0.0], timeout=1e-9, executor=executor)
    assert outcome.counts == {"timeout": 2}
    assert {record.reason for record in records} == {"it took longer than the suite's timeout"}


def test_a_metric_that_hangs_is_a_timeout(run):
    outcome, _ = run(solvers=["steps"], models=["tiny"], guidance=[0.0], metrics=["psnr", "endless"], timeout=3.0)
    assert outcome.counts == {"timeout": 1}


def test_a_cell_after_a_timeout_makes_everything_anew(run):
    _, alone = run(solvers=["steps"], models=["tiny"], guidance=[0.0])
    _, records = run("after", solvers=["hangs", "steps"], models=["tiny"], guidance=[0.0], timeout=3.0)
    assert [record.status for record in records] == ["timeout", "ok"]
    assert records[1].metrics == alone[0].metrics


def test_leaving_at_once_is_refused_in_this_process(run):
    _, records = run(solvers=["dies", "steps"], models=["tiny"], guidance=[0.0])
    assert [record.status for record in records] == ["failed", "ok"]
    assert records[0].reason.startswith("the solver dies of the plugin tiny_plugin raised SystemExit: 7")
