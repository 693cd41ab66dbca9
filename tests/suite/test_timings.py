from __future__ import annotations

import json

import pytest

from bnsbench.api.running import run_and_report
from bnsbench.process.clock import Clock
from bnsbench.report.integrity import faults
from bnsbench.suite.record import Record
from bnsbench.suite.run import RunOptions, run_suite
from bnsbench.suite.store import ResultStore
from bnsbench.suite.timings import IDLE, REPORTING, RUNNING, STARTING, WRITING, Timings, timings_of


def clock_of(seconds, workers=0, **others):
    clock = Clock()
    clock.seconds, clock.workers, clock.others = dict(seconds), workers, others
    return clock


def record_of(spent, network):
    return Record("k", {}, "ok", seconds={"total": 1.0, "spent": spent, "network": network})


RECORDS = [record_of({"truth": 4.0, "sampling": 2.0}, {"truth": 3.0}), record_of({"sampling": 3.0}, {"sampling": 2.5})]


def test_a_run_in_this_process_accounts_for_its_wall_time():
    found = timings_of(clock_of({"planning": 0.5, RUNNING: 10.0, WRITING: 1.5}), RECORDS)
    assert (found.wall, found.processes) == (12.0, 1)
    assert found.spent == {"truth": 4.0, "sampling": 5.0, IDLE: 1.0, "planning": 0.5, WRITING: 1.5}
    assert sum(found.spent.values()) == found.wall
    assert found.network == {"truth": 3.0, "sampling": 2.5}
    assert found.efficiency == pytest.approx(5.5 / 12.0)


def test_a_run_of_workers_accounts_for_all_of_them():
    clock = clock_of({"planning": 0.5, RUNNING: 10.0, WRITING: 1.0}, workers=2, **{STARTING: 6.0})
    found = timings_of(clock, RECORDS)
    # Two workers go on for 11 seconds, in which the records were written.
    assert found.spent == {"truth": 4.0, "sampling": 5.0, STARTING: 6.0, IDLE: 7.0, "planning": 0.5}
    assert sum(found.spent.values()) == pytest.approx(2 * 11.0 + 0.5)
    assert (found.wall, found.processes) == (11.5, 2)


def test_what_comes_after_a_run_counts_too():
    found = Timings(8.0, 2, {"sampling": 16.0}, {"sampling": 12.0}).and_then(REPORTING, 4.0)
    assert (found.wall, found.spent) == (12.0, {"sampling": 16.0, REPORTING: 4.0})
    assert found.efficiency == pytest.approx(0.6)


def test_one_line_names_what_takes_longest_outside_of_the_network():
    spent = {"training": 50.0, "truth": 9.0, "metrics": 20.0, "loading": 1.0, "planning": 0.0}
    found = Timings(40.0, 2, spent, {"training": 45.0, "truth": 9.0})
    assert found.line == (
        "40.0 s of 2 processes, 68% in the network; outside of it metrics 20.0 s, training 5.0 s, loading 1.0 s"
    )
    assert Timings(0.0).line == "0.0 s, 0% in the network"


def test_old_records_say_nothing():
    assert timings_of(clock_of({RUNNING: 2.0}), [Record("k", {}, "ok", seconds={"total": 1.0})]).spent == {IDLE: 2.0}


@pytest.mark.parametrize("executor", ["local", "processes"])
def test_a_run_tells_where_its_time_went(suite_file, tmp_path, host, recorder, executor, monkeypatch):
    monkeypatch.setenv("BNSBENCH_CACHE", str(tmp_path / "cache"))
    options = RunOptions(str(suite_file), results=tmp_path / "results", device="cpu", executor=executor)
    outcome, _ = run_and_report(options, host, recorder)
    store, found = ResultStore(outcome.folder), outcome.timings
    assert json.loads(store.timings_file.read_text()) == found.to_dict() == outcome.to_dict()["timings"]
    assert {
        "loading",
        "truth",
        "training",
        "sampling",
        "decoding",
        "metrics",
        "previews",
        "checks",
        REPORTING,
    } <= found.spent.keys()
    assert {"truth", "sampling"} <= found.network.keys()
    assert all(0 < found.network[phase] <= found.spent[phase] + 0.01 for phase in found.network)
    assert 0 < found.efficiency < 1
    assert sum(found.spent.values()) <= found.processes * found.wall + 0.01
    if executor == "local":
        assert sum(found.spent.values()) == pytest.approx(found.wall, abs=0.01)
    else:
        assert found.spent[STARTING] > 0.1 * found.processes
    for record in store.records():
        assert sum(record.seconds["spent"].values()) <= record.seconds["total"] + 0.01
    assert list(faults(store)) == []


def test_a_run_without_work_leaves_the_timings_of_the_last(suite_file, tmp_path, host, recorder):
    options = RunOptions(str(suite_file), results=tmp_path / "results", device="cpu", solvers=["steps"], nfe=[2])
    store = ResultStore(run_and_report(options, host, recorder)[0].folder)
    before = store.timings_file.read_bytes()
    outcome, _ = run_and_report(options, host, recorder)
    assert (outcome.ran, store.timings_file.read_bytes()) == (0, before)
    assert outcome.timings.network == {}


def test_only_a_report_writes_them(suite_file, tmp_path, host, recorder):
    options = RunOptions(str(suite_file), results=tmp_path / "results", device="cpu", solvers=["steps"], nfe=[2])
    outcome = run_suite(options, host, recorder)
    assert not ResultStore(outcome.folder).timings_file.exists()
    assert outcome.timings.network["sampling"] > 0
