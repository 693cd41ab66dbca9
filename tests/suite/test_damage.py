"""Files of a results folder that are damaged after a run: every command says so, and the next run mends them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from bnsbench.api.running import run_and_report
from bnsbench.errors import CorruptFileError
from bnsbench.nonstationary.artefact import SolverArtefact
from bnsbench.report.compare import compare
from bnsbench.report.results import read_leaderboard, read_sums
from bnsbench.report.versions import settled_records
from bnsbench.storage.files import StorageError
from bnsbench.suite.run import RunOptions, find_finished, plan_run, run_suite
from bnsbench.suite.solver_files import fault_of, table_fingerprint
from bnsbench.suite.store import ResultStore
from tests.suite.test_store import DAMAGES, damage

RESULTS = Path(__file__).parents[2] / "results"


@pytest.fixture
def options(suite_file, tmp_path):
    return RunOptions(
        str(suite_file), models=["plain"], solvers=["steps", "learned"], nfe=[2], results=tmp_path / "runs", device="cpu"
    )


@pytest.fixture
def store(options, host, recorder, tmp_path):
    run_and_report(options, host, recorder)
    return ResultStore(tmp_path / "runs" / "small")


def table(store):
    frame = read_leaderboard(store)
    return frame[["model", "solver", "nfe", "status", "psnr"]].to_dict("records")


@pytest.mark.parametrize("kind", [kind for kind in DAMAGES if kind not in ("NaN", "changed", "newer")])
@pytest.mark.parametrize("which", ["record", "plan", "sums", "csv", "solver", "picture"])
def test_one_damaged_file_is_told_and_mended(store, options, host, recorder, kind, which):
    before, numbers = {file: file.read_bytes() for file in store.folder.rglob("*") if file.is_file()}, table(store)
    (learned,) = (record for record in store.records() if record.solver.get("file"))
    file = {
        "record": store.record_file(learned.key),
        "plan": store.plan_file,
        "sums": store.folder / "SHA256SUMS",
        "csv": store.folder / "leaderboard.csv",
        "solver": store.solvers / str(learned.solver["file"]),
        "picture": store.folder / "psnr.svg",
    }[which]
    damage(file, kind)
    shown, _ = settled_records(store)
    assert len(read_leaderboard(store)) == len(numbers) == 2
    assert [record.status for record in shown].count("failed") == (which == "record")
    compare(shown, shown)
    recorder.notices.clear()
    outcome, _ = run_and_report(options, host, recorder)
    assert outcome.ran == (which in ("record", "solver"))
    assert bool(recorder.notices) == (which in ("record", "solver"))
    assert table(store) == numbers
    read_sums(store.folder)
    mended = {
        file: file.read_bytes() for file in store.folder.rglob("[!.]*") if file.is_file() and ".aside" not in str(file)
    }
    assert mended.keys() == before.keys()
    unlike = {file.name for file in before if mended[file] != before[file]}
    # A cell that was run again took another time.
    timed = {
        store.record_file(learned.key).name,
        str(learned.solver["file"]),
        "leaderboard.csv",
        "leaderboard.md",
        "SHA256SUMS",
        store.timings_file.name,
    }
    assert unlike <= (timed if outcome.ran else set())
    assert run_suite(options, host, recorder).ran == 0


def test_another_table_behind_a_record_is_trained_again(store, options, host, recorder):
    (learned,) = (record for record in store.records() if record.solver.get("file"))
    file = store.solvers / str(learned.solver["file"])
    content = json.loads(file.read_text())
    content["solver"]["b"][0][0] += 1e-9
    file.write_text(json.dumps(content))
    plan = plan_run(options, host)
    found = find_finished(plan, options, host, recorder)
    assert (found.damaged, [cell.key for cell in found.pending(plan.cells)]) == ((file,), [learned.key])
    assert "holds another table than the one that was measured: its cell is run again" in recorder.notices[-1]
    assert file.exists(), "a dry run changes nothing"
    run_suite(options, host, recorder)
    assert SolverArtefact.load(file).solver.fingerprint() == learned.solver["fingerprint"]
    assert list(file.parent.glob(".*.aside"))


def test_many_missing_files_are_not_told_one_by_one(store, options, host, recorder, monkeypatch):
    monkeypatch.setattr("bnsbench.suite.finished.NAMED", 0)
    (learned,) = (record for record in store.records() if record.solver.get("file"))
    (store.solvers / str(learned.solver["file"])).unlink()
    plan = plan_run(options, host)
    find_finished(plan, options, host, recorder)
    assert recorder.notices == ["The same holds for 1 other solver files."]


@pytest.mark.parametrize("name", ["default", "learned"])
def test_fingerprints_without_torch_are_those_of_tables(name):
    files = sorted((RESULTS / name / "solvers").glob("*.json"))
    assert len(files) > 20
    for file in files[:: len(files) // 20]:
        described = json.loads(file.read_text())["solver"]
        assert table_fingerprint(described) == SolverArtefact.load(file).solver.fingerprint()


@pytest.mark.parametrize("change", [{"b": [[1.0, 2.0]]}, {"a": []}, {"times": [0.0]}, {"b": [["x"]]}, {"b": 3}, {"a": None}])
def test_what_is_no_table_has_no_fingerprint(change):
    with pytest.raises(CorruptFileError):
        table_fingerprint({"times": [0.0, 1.0], "a": [1.0], "b": [[1.0]], **change})


def test_committed_records_are_as_they_should_be():
    for name in ("default", "learned"):
        store = ResultStore(RESULTS / name)
        for key in store.planned()[::15]:
            record = store.read(key)
            assert record is not None
            if record.solver.get("file"):
                assert fault_of(store.solvers / str(record.solver["file"]), record) == ""


def test_a_run_that_is_killed_between_table_and_pictures_draws_them(store, options, host, recorder, monkeypatch):
    """The numbers are new and the pictures old; that they are there says nothing."""
    picture = (store.folder / "psnr.svg").read_bytes()
    fewer = RunOptions(**{**vars(options), "nfe": [2, 4]})

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("bnsbench.report.results._draw", stop)
    with pytest.raises(KeyboardInterrupt):
        run_and_report(fewer, host, recorder)
    monkeypatch.undo()
    assert (store.folder / "psnr.svg").read_bytes() == picture
    run_and_report(fewer, host, recorder)
    assert (store.folder / "psnr.svg").read_bytes() != picture


@pytest.mark.skipif(os.name != "posix", reason="permissions are those of POSIX")
def test_a_cache_that_cannot_be_written_ends_the_run_at_once(options, host, recorder, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("BNSBENCH_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(StorageError, match=r"The cache folder .*file/cache cannot be written"):
        run_suite(options, host, recorder)
    assert recorder.begun == []


def test_leftovers_of_killed_runs_go(store, options, host, recorder):
    left = [store.cells / ".x.json.1234.tmp", Path(os.environ["BNSBENCH_CACHE"]) / "pairs" / ".y.5678.tmp"]
    for file in left:
        file.touch()
        os.utime(file, (0, 0))
    store.forget(next(iter(store.planned())))
    run_suite(options, host, recorder)
    assert not any(file.exists() for file in left)
