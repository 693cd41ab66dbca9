"""Cells on other machines: how they are dealt out, what a machine tells of them, and what becomes of lost ones."""

from __future__ import annotations

import multiprocessing
import pickle
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import pytest

from bnsbench.errors import BnsbenchError
from bnsbench.suite.context import Job
from bnsbench.suite.elsewhere import Ledger, Message, deal, run_and_tell
from bnsbench.suite.executors import LocalExecutor
from bnsbench.suite.mailbox import Mailbox
from bnsbench.suite.plan import make_plan
from bnsbench.suite.progress import RunListener
from bnsbench.suite.record import Draft
from bnsbench.suite.store import ResultStore
from bnsbench.suite.suitefile import find_suite, override


@pytest.fixture
def cells(suite_file, host):
    return make_plan(find_suite(str(suite_file), host), host)


@pytest.fixture
def small(suite_file, host):
    """Three cells, of which one needs a training."""
    choice = {"models": "tiny", "guidance": 0.0, "nfe": 4, "samples": 8, "metrics": "psnr"}
    return make_plan(override(find_suite(str(suite_file), host), **choice), host)


@pytest.fixture
def job(host, tmp_path):
    store = ResultStore(tmp_path / "results")
    return Job(host=host, store=store, cache=tmp_path / "cache", batch=16, threads=1, timeout=60.0)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 9, 100])
def test_every_cell_is_dealt_out_once_and_fields_stay_together(cells, count):
    dealt = deal(cells, count)
    assert Counter(cell.key for part in dealt for cell in part) == Counter(cell.key for cell in cells)
    assert len(dealt) == min(count, 9)  # the solvers of three fields
    for part in dealt:
        assert [cell for cell in cells if cell in part] == list(part)
    fields = [{cell.field_digest for cell in part} for part in dealt]
    assert sum(map(len, fields)) == max(3, len(dealt))
    ladders = [{(cell.field_digest, cell.solver.selector) for cell in part} for part in dealt]
    assert sum(map(len, ladders)) == 9


def test_tasks_come_to_about_the_same_work(cells):
    for count in (2, 3):
        learned = [sum(cell.trained for cell in part) for part in deal(cells, count)]
        assert max(learned) - min(learned) <= 2
    assert deal([], 4) == []


def test_a_machine_tells_all_that_becomes_of_its_cells(small, job):
    told: list[Message] = []
    run_and_tell(small, job, told.append)
    told = pickle.loads(pickle.dumps(told))  # noqa: S301
    assert [message.key for message in told if message.kind == "started"] == [cell.key for cell in small]
    records = {message.key: message.content for message in told if message.kind == "record"}
    for cell, here in LocalExecutor().execute(small, job, RunListener()):
        assert (records[cell.key].metrics, records[cell.key].status) == (here.metrics, "ok")
    assert any(message.kind == "stage" for message in told)
    assert not any(message.files for message in told)


def test_a_machine_that_shares_nothing_sends_its_files(small, job, tmp_path, monkeypatch):
    monkeypatch.setenv("BNSBENCH_CACHE", str(tmp_path / "own"))
    told: list[Message] = []
    run_and_tell(small, job, told.append, shared=False)
    assert (tmp_path / "own").is_dir()
    assert not job.cache.exists()
    assert not job.store.folder.exists()
    ledger = Ledger(small, job, RunListener())
    ended = [each for message in told for each in ledger.hear(message)]
    (learned,) = (record for cell, record in ended if cell.trained)
    assert job.store.solver_file(learned.solver["file"].removesuffix(".json")).is_file()
    assert {file.name.partition(".png")[0] for file in job.store.previews.iterdir()} == {cell.key for cell in small}


def test_what_nobody_wants_any_more_is_ended(suite_file, host, job):
    choice = {"models": "tiny", "guidance": 0.0, "nfe": 4, "solvers": "hangs"}
    cells = make_plan(override(find_suite(str(suite_file), host), **choice), host)
    told: list[Message] = []
    run_and_tell(cells, replace(job, timeout=None), told.append, wanted=lambda: not any(m.kind == "stage" for m in told))
    assert "record" not in {message.kind for message in told}
    assert multiprocessing.active_children() == []


def test_a_machine_without_the_device_or_without_processes_says_so(small, job, monkeypatch):
    told: list[Message] = []
    run_and_tell(small, replace(job, device="cuda:99"), told.append)
    monkeypatch.setattr(multiprocessing, "current_process", lambda: SimpleNamespace(daemon=True, name="a worker"))
    run_and_tell(small, job, told.append)
    assert [message.kind for message in told] == ["unable", "unable"]
    with pytest.raises(BnsbenchError, match="could not run its cells: The device 'cuda:99' is not there"):
        list(Ledger(small, job, RunListener()).hear(told[0]))
    assert "DASK_DISTRIBUTED__WORKER__DAEMON=False" in told[1].content


def test_a_ledger_takes_each_record_once_and_tells_the_listener(small, job, recorder):
    ledger, (first, *_) = Ledger(small, job, recorder), small
    record = Draft(first).finish("ok")
    told = [Message(first.key, "started"), Message(first.key, "notice", "hm"), *[Message(first.key, "record", record)] * 2]
    assert [ended for message in told for ended in ledger.hear(message)] == [(first, record)]
    assert list(ledger.hear(Message("another run's", "record", record))) == []
    assert (recorder.begun, recorder.notices) == ([first], ["hm"])
    assert ledger.lost([first], "over") == ((), [])
    assert recorder.notices == ["hm"]


def test_a_cell_that_was_begun_on_lost_machines_is_given_up_at_last(small, job, recorder):
    ledger, (first, second, third) = Ledger(small, job, recorder, attempts=2), small
    for message in (Message(first.key, "started"), Message(first.key, "record", Draft(first).finish("ok"))):
        list(ledger.hear(message))
    list(ledger.hear(Message(second.key, "started")))
    assert ledger.lost(small, "SIGKILL") == ((second, third), [])
    assert recorder.notices == ["A worker was lost (SIGKILL): 2 of its cells are given out again."]
    list(ledger.hear(Message(second.key, "started")))
    again, ((failed, record),) = ledger.lost((second, third), "no power")
    assert (again, failed, record.status) == ((third,), second, "failed")
    assert record.reason == "the worker that ran it was lost 2 times, at last: no power"
    assert ledger.lost(again, "none came") == ((third,), [])
    assert ledger.lost(again, "none came")[0] == ()


def test_a_mailbox_hands_over_whole_messages_once(tmp_path):
    mailbox = Mailbox(tmp_path / "box")
    assert list(mailbox.read()) == []
    with mailbox.sender() as one, mailbox.sender() as other:
        one(Message("a", "started"))
        other(Message("b", "started"))
        assert {message.key for message in mailbox.read()} == {"a", "b"}
        one(Message("a", "notice", "x" * 10_000))
        assert [message.key for message in mailbox.read()] == ["a"]
    file = min(mailbox.folder.iterdir())
    whole = file.read_bytes()
    half = pickle.dumps(Message("c", "notice", "y" * 10_000))
    file.write_bytes(whole + half[:5000])
    assert list(mailbox.read()) == []
    file.write_bytes(whole + half)
    assert [message.key for message in mailbox.read()] == ["c"]


def test_a_job_that_begins_again_leaves_out_what_it_has_sent(small, job, tmp_path):
    first, second, _ = small
    mailbox = Mailbox(tmp_path / "box")
    with mailbox.sender() as send:
        send(Message(first.key, "record", Draft(first).finish("failed", "once")))
        send(Message(second.key, "started"))
    list(mailbox.read())
    mailbox.run(small[:2], job)
    assert {message.key for message in mailbox.read()} == {second.key}
