from __future__ import annotations

import errno
import os

import pytest

from bnsbench.contract import PluginHost
from bnsbench.errors import UsageError
from bnsbench.suite.run import RunOptions, plan_run, run_suite
from bnsbench.suite.store import ResultStore, StorageError


@pytest.fixture
def options(suite_file, tmp_path):
    def options(**changes):
        return RunOptions(str(suite_file), **{"results": tmp_path / "results", "device": "cpu", **changes})

    return options


@pytest.fixture
def store(tmp_path):
    return ResultStore(tmp_path / "results" / "small")


def test_every_cell_gets_a_record(options, host, store, recorder):
    outcome = run_suite(options(solvers=["steps", "pairs"], nfe=[2, 3]), host, recorder)
    assert outcome.counts == {"ok": 9, "skipped": 3}
    assert (outcome.ran, outcome.exit_code, outcome.folder) == (12, 0, store.folder)
    assert len(list(store.records())) == len(recorder.records) == 12
    assert {path.name for path in store.folder.iterdir()} == {
        "suite.toml",
        "plan.json",
        "environment.json",
        "cells",
        "previews",
    }


def test_finished_cells_are_not_run_again(options, host, store, recorder):
    run_suite(options(), host, recorder)
    before = {file: file.stat().st_mtime_ns for file in store.folder.rglob("*") if file.is_file()}
    recorder.begun.clear()
    outcome = run_suite(options(), host, recorder)
    assert (outcome.ran, outcome.counts, recorder.begun) == (0, {"ok": 18}, [])
    assert {file: file.stat().st_mtime_ns for file in store.folder.rglob("*") if file.is_file()} == before


def test_a_metrics_missing_file_is_told_before_anything_is_computed(options, host, store, recorder):
    with pytest.raises(UsageError, match=r"There is no file or folder nowhere of real samples"):
        run_suite(options(solvers=["steps"], nfe=[2], metrics=["psnr", "fid[data=nowhere]"]), host, recorder)
    assert not recorder.begun
    assert list(store.records()) == []


def test_a_new_metric_completes_the_records(options, host, store, recorder):
    run_suite(options(solvers=["steps"], metrics=["psnr"]), host, recorder)
    outcome = run_suite(options(solvers=["steps"], metrics=["psnr", "width"]), host, recorder)
    assert outcome.ran == 6
    assert all(set(record.metrics) == {"psnr", "width"} for record in store.records())
    assert run_suite(options(solvers=["steps"], metrics=["width"]), host, recorder).ran == 0


def test_failed_cells_are_rows_and_are_retried(options, host, store, recorder):
    wanted = options(solvers=["steps", "raises"], models=["tiny"], guidance=[0.0])
    first = run_suite(wanted, host, recorder)
    assert (first.counts, first.exit_code) == ({"ok": 2, "failed": 2}, 1)
    assert run_suite(wanted, host, recorder).ran == 2
    assert [record.status for record in store.records()] == ["ok", "ok", "failed", "failed"]


def test_damaged_record_is_told_of_and_run_again(options, host, store, recorder):
    wanted = options(solvers=["steps"], nfe=[2], models=["tiny"])
    run_suite(wanted, host, recorder)
    before = [record.per_sample for record in store.records()]
    file = sorted(store.cells.iterdir())[0]
    file.write_text(file.read_text().replace("psnr", "pnsr", 1))
    assert run_suite(wanted, host, recorder).ran == 1
    assert [text for text in recorder.notices if str(file) in text and "run again" in text]
    assert [record.per_sample for record in store.records()] == before


def test_fresh_runs_cells_and_training_again(options, host, store, recorder):
    wanted = options(models=["tiny"], guidance=[0.0])
    run_suite(wanted, host, recorder)
    solvers = {file: file.read_text() for file in store.solvers.iterdir()}
    assert run_suite(options(models=["tiny"], guidance=[0.0], fresh=True), host, recorder).ran == 6
    # The files hold the processor time at which the training ended.
    assert len(solvers) == 2
    assert all(file.read_text() != text for file, text in solvers.items())


def test_order_of_cells_and_batch_size_do_not_matter(options, host, tmp_path, recorder):
    run_suite(options(), host, recorder)
    turned = options(
        results=tmp_path / "turned", solvers=["learned", "pairs", "steps"], models=["plain", "tiny"], nfe=[4, 2], batch=7
    )
    run_suite(turned, host, recorder)
    first = {record.key: record for record in ResultStore(tmp_path / "results" / "small").records()}
    second = {record.key: record for record in ResultStore(tmp_path / "turned" / "small").records()}
    assert first.keys() == second.keys()
    for key, record in first.items():
        assert second[key].metrics["psnr"].value == pytest.approx(record.metrics["psnr"].value, abs=1e-6)


def test_the_same_order_and_batch_give_the_same_bits(options, host, tmp_path, recorder):
    run_suite(options(), host, recorder)
    run_suite(options(results=tmp_path / "again"), host, recorder)
    first, second = (ResultStore(tmp_path / folder / "small").records() for folder in ("results", "again"))
    for a, b in zip(first, second, strict=True):
        assert (a.metrics, a.per_sample, a.solver, a.train_forwards) == (b.metrics, b.per_sample, b.solver, b.train_forwards)


def test_full_disk_ends_the_run_and_keeps_finished_cells(options, host, store, recorder, monkeypatch):
    sync, written = os.fsync, []

    def nearly_full(descriptor):
        written.append(descriptor)
        if len(written) > 8:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", nearly_full)
    with pytest.raises(StorageError, match="No space left on device"):
        run_suite(options(), host, recorder)
    kept = {record.key: record.to_dict() for record in store.records()}
    assert len(kept) == 5  # suite.toml, plan.json and environment.json were the other three
    monkeypatch.setattr(os, "fsync", sync)
    outcome = run_suite(options(), host, recorder)
    assert (outcome.ran, outcome.counts) == (13, {"ok": 18})
    assert all(store.read(key).to_dict() == content for key, content in kept.items())


def test_full_cache_disk_is_one_sentence(options, host, store, recorder, monkeypatch):
    def full(self, split, count):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "pairs")

    monkeypatch.setattr("bnsbench.truth.pairs.PairSource.pairs", full)
    with pytest.raises(StorageError, match=r"The cache folder .* cannot be written"):
        run_suite(options(), host, recorder)


def test_read_only_results_folder_is_one_sentence_and_nothing_runs(options, host, recorder, monkeypatch):
    """Permissions do not bind the superuser, so the refusal is simulated where files are opened."""

    def refuse(self, *arguments, **keywords):
        raise PermissionError(errno.EROFS, os.strerror(errno.EROFS), str(self))

    monkeypatch.setattr("pathlib.Path.mkdir", refuse)
    with pytest.raises(StorageError, match="Read-only file system") as caught:
        run_suite(options(), host, recorder)
    assert caught.value.exit_code == 1
    assert recorder.begun == []


def test_finished_results_can_be_run_on_a_read_only_folder(options, host, recorder, monkeypatch):
    run_suite(options(solvers=["steps"]), host, recorder)
    monkeypatch.setattr(os, "fsync", lambda descriptor: pytest.fail("something was written"))
    assert run_suite(options(solvers=["steps"]), host, recorder).ran == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"solvers": ["stepz"]},
        {"nfe": [0]},
        {"executor": "lokal"},
        {"workers": 2},
        {"executor": "processes", "workers": -1},
        {"guidance": [-1.0]},
    ],
)
def test_usage_errors_leave_no_results(options, host, recorder, store, wrong):
    with pytest.raises(UsageError) as caught:
        run_suite(options(**wrong), host, recorder)
    assert caught.value.exit_code == 2
    assert not store.folder.exists()


@pytest.mark.parametrize("device", ["tpu", "cuda:99", "cuda:x"])
def test_devices_that_are_not_there_are_usage_errors(options, host, recorder, device):
    with pytest.raises(UsageError, match="device"):
        run_suite(options(device=device), host, recorder)


def test_observers_of_plugins_hear_of_every_record(options, host, tmp_path, recorder):
    plugin = tmp_path / "watcher.py"
    plugin.write_text(
        "from bnsbench.contract.hookspecs import hookimpl\nHEARD = []\n"
        "@hookimpl\ndef bnsbench_cell_finished(record):\n    HEARD.append(record['status'])\n    raise RuntimeError('no')\n"
    )
    host = PluginHost.load([*host.files, plugin])
    outcome = run_suite(options(solvers=["steps"], models=["plain"]), host, recorder)
    assert outcome.counts == {"ok": 2}


def test_planning_touches_nothing(options, host, store):
    plan = plan_run(options(), host)
    assert len(plan.cells) == 18
    assert not store.folder.exists()


def test_suite_file_in_the_results_is_the_resolved_suite(options, host, store, recorder, tmp_path):
    run_suite(options(solvers=["steps"], nfe=[2], seed=3), host, recorder)
    again = RunOptions(str(store.suite_file), results=tmp_path / "results", device="cpu")
    assert run_suite(again, host, recorder).ran == 0
