from __future__ import annotations

import pytest

from bnsbench.suite import processes
from bnsbench.suite.plan import make_plan
from bnsbench.suite.queues import FieldQueues
from bnsbench.suite.run import RunOptions, run_suite
from bnsbench.suite.store import ResultStore, StorageError
from bnsbench.suite.suitefile import read_suite


@pytest.mark.parametrize(
    ("devices", "cores", "threads", "workers"),
    [(["cpu"], 8, 2, 4), (["cpu"], 7, 2, 3), (["cpu"], 2, 4, 1), (["cuda:0", "cuda:1"], 8, 1, 2)],
)
def test_workers_share_the_cores_by_their_threads(monkeypatch, devices, cores, threads, workers):
    monkeypatch.setattr(processes, "cores", lambda: cores)
    monkeypatch.setattr(processes, "threads", lambda: threads)
    assert processes._default_workers(devices) == workers


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


def test_queues_give_out_every_cell_once_by_field(suite_file, host):
    cells = make_plan(read_suite(suite_file), host)
    queues = FieldQueues(cells)
    given = {worker: [queues.next(worker) for _ in range(6)] for worker in (1, 2, 3)}
    assert [len({(cell.model.name, cell.guidance) for cell in found}) for found in given.values()] == [1, 1, 1]
    assert sorted(cell.key for found in given.values() for cell in found) == sorted(cell.key for cell in cells)
    assert queues.next(1) is None


def test_idle_worker_helps_where_most_is_left(suite_file, host):
    cells = make_plan(read_suite(suite_file), host)[:8]  # six cells of one field, two of another
    queues = FieldQueues(cells)
    assert queues.next(1).guidance == 0.0
    assert [queues.next(2).guidance for _ in range(3)] == [1.0, 1.0, 0.0]
