from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bnsbench.contract import PluginHost
from bnsbench.errors import BnsbenchError, UsageError
from bnsbench.process.machine import cache_folder
from bnsbench.report.integrity import faults
from bnsbench.report.results import write_reports
from bnsbench.storage.files import replacing
from bnsbench.suite.run import RunOptions, plan_run, run_suite
from bnsbench.suite.store import ResultStore, StorageError
from bnsbench.suite.suitefile import OVERRIDABLE


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
    written = []

    @contextmanager
    def nearly_full(target):
        written.append(target)
        if len(written) > 8:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with replacing(target) as temporary:
            yield temporary

    monkeypatch.setattr("bnsbench.suite.store.replacing", nearly_full)
    with pytest.raises(StorageError, match="No space left on device"):
        run_suite(options(), host, recorder)
    kept = {record.key: record.to_dict() for record in store.records()}
    assert len(kept) == 5  # suite.toml, plan.json and environment.json were the other three
    monkeypatch.undo()
    outcome = run_suite(options(), host, recorder)
    assert (outcome.ran, outcome.counts) == (13, {"ok": 18})
    assert all(store.read(key).to_dict() == content for key, content in kept.items())


def test_full_cache_disk_is_one_sentence(options, host, store, recorder, monkeypatch):
    def full(self, split, count):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(cache_folder() / "pairs" / "x"))

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


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ({"nfe": 8}, {"nfe": (8,)}),
        ({"nfe": "8,4"}, {"nfe": (4, 8)}),
        ({"nfe": range(2, 8, 2)}, {"nfe": (2, 4, 6)}),
        ({"nfe": np.int64(8)}, {"nfe": (8,)}),
        ({"nfe": [np.int64(8), 4]}, {"nfe": (4, 8)}),
        ({"nfe": np.array([4, 8])}, {"nfe": (4, 8)}),
        ({"nfe": torch.tensor([6])}, {"nfe": (6,)}),
        ({"solvers": "steps"}, {"solvers": ("steps",)}),
        ({"solvers": "steps, bns[iterations=3,pairs=16]"}, {"solvers": ("steps", "bns[iterations=3,pairs=16]")}),
        ({"solvers": ("steps", "live,pairs")}, {"solvers": ("steps", "live", "pairs")}),
        ({"metrics": "psnr"}, {"metrics": ("psnr",)}),
        ({"samples": np.int64(9)}, {"samples": 9}),
        ({"seed": 3, "batch": 5, "timeout": 2}, {"seed": 3, "batch": 5, "timeout": 2.0}),
    ],
)
def test_options_as_a_notebook_passes_them(options, host, given, meant):
    suite = plan_run(options(**given), host).suite
    assert {name: getattr(suite, name) for name in meant} == meant
    assert type(suite.nfe[0]) is int


def test_options_of_models_as_a_notebook_passes_them(options, host):
    models = plan_run(options(models="tiny,plain", guidance=2, dtype="float32"), host).suite.models
    assert [(model.name, model.guidance, model.dtype) for model in models] == [
        ("tiny", (2.0,), "float32"),
        ("plain", (2.0,), "float32"),
    ]
    assert models[0].tolerance == 1e-5, "of the suite's own entry"


def test_places_may_be_texts_or_paths(suite_file, host, tmp_path):
    for place in (tmp_path / "out", str(tmp_path / "out")):
        for suite in (suite_file, str(suite_file)):
            assert plan_run(RunOptions(suite, results=place), host).store.folder == tmp_path / "out" / "small"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"nfe": 0}, "The option nfe does not take 0: input should be greater than or equal to 1."),
        ({"nfe": 8.5}, "The option nfe does not take 8.5: input should be a valid integer, got a number with a fraction"),
        ({"nfe": []}, "The option nfe does not take []: tuple should have at least 1 item"),
        ({"nfe": "eight"}, "The option nfe does not take 'eight': input should be a valid integer"),
        ({"solvers": 3}, "The option solvers does not take 3: input should be a valid string."),
        ({"models": 3}, "The option models does not take 3: input should be"),
        ({"guidance": -1}, "The option guidance does not take -1: input should be greater than or equal to 0."),
        ({"models": "tiny", "guidance": "much"}, "The option guidance does not take 'much': input should be a valid number"),
        ({"dtype": "int8"}, "The option dtype does not take 'int8': input should be 'float64', 'float32' or 'bfloat16'."),
        ({"samples": 1}, "The option samples does not take 1: input should be greater than or equal to 2."),
        ({"seed": -3}, "The option seed does not take -3: input should be greater than or equal to 0."),
        ({"timeout": "soon"}, "The option timeout does not take 'soon': input should be a valid number"),
    ],
)
def test_an_option_that_cannot_be_is_named(options, host, given, said):
    with pytest.raises(UsageError) as caught:
        plan_run(options(**given), host)
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)


def test_every_option_of_a_suite_overrides_it(host):
    """An option that is added to the suite alone, or whose name is another there, would be lost without a word."""
    own = {"suite", "device", "executor", "workers", "results", "fresh", "retrain", "deterministic", "trust_records"} | {
        "shard"
    }
    names = {field.name for field in fields(RunOptions)}
    assert names - own == OVERRIDABLE
    options: dict[str, Any] = dict.fromkeys(OVERRIDABLE, "x")
    assert RunOptions(**options).overrides() == options
    assert RunOptions().overrides() == {}


def test_a_leaderboard_has_its_metrics_even_where_every_cell_has_failed(options, host, recorder):
    outcome = run_suite(options(solvers="raises", models="tiny", nfe=2), host, recorder)
    frame = write_reports(ResultStore(outcome.folder))
    assert frame[["psnr", "width"]].isna().all(axis=None)
    assert frame["psnr"].dtype == float
    assert list(frame["status"]) == ["failed", "failed"]
    assert frame.attrs["metrics"] == ["psnr", "width"]
    assert frame.attrs["units"]["psnr"] == "dB"
    assert not (outcome.folder / "psnr.png").exists()
    assert list(faults(ResultStore(outcome.folder))) == []


MOVING = """
import os, sys
from bnsbench.plugin import hookimpl, SolverSpec

@hookimpl
def bnsbench_solvers():
    yield SolverSpec("moves", ":moves", kind="direct")

@hookimpl
def bnsbench_cell_finished(record):
    os.chdir("/")
    sys.exit("an observer leaves")

def moves(field, x0, nfe):
    os.chdir("/")
    for k in range(nfe):
        x0 = x0 + field(x0.new_tensor(k / nfe), x0) / nfe
    return x0
"""


def test_results_are_one_folder_whatever_components_do(options, host, tmp_path, recorder, monkeypatch):
    plugin = tmp_path / "moving.py"
    plugin.write_text(MOVING)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BNSBENCH_CACHE", "cache")
    host = PluginHost.load([*host.files, plugin])
    outcome = run_suite(
        options(results="here", solvers=["steps", "moves", "learned"], models=["plain"], nfe=[2]), host, recorder
    )
    assert outcome.counts == {"ok": 3}
    assert outcome.folder == tmp_path / "here" / "small"
    assert len(list(ResultStore(outcome.folder).records())) == 3
    assert (tmp_path / "cache" / "pairs").is_dir()
    assert Path.cwd() == tmp_path


def test_an_executor_that_leaves_cells_out_is_told_of(options, host, recorder, monkeypatch):
    monkeypatch.setattr("bnsbench.suite.executors.LocalExecutor.execute", lambda *_: iter(()))
    with pytest.raises(BnsbenchError, match="The executor local has ended without a record of 18 cells"):
        run_suite(options(), host, recorder)
