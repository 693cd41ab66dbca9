"""Every way in which a results folder can differ from what its run left, each found and told in a sentence."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from bnsbench.contract import PluginHost
from bnsbench.errors import CorruptFileError
from bnsbench.report.integrity import faults, plan_faults
from bnsbench.report.results import write_reports
from bnsbench.suite.plan import make_plan
from bnsbench.suite.record import Record, RecordedModel, Score
from bnsbench.suite.store import ResultStore
from bnsbench.suite.suitefile import read_suite

SUITE = """
name = "small"
samples = 20
nfe = [2, 3]
metrics = ["psnr"]
solvers = ["euler", "midpoint"]
models = ["ring8"]
"""


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A results folder as a run leaves it, with made-up values: one cell is skipped, the others have a PSNR."""
    folder = tmp_path_factory.mktemp("results")
    (folder / "small.toml").write_text(SUITE)
    store, cells = ResultStore(folder / "small"), make_plan(read_suite(folder / "small.toml"), PluginHost.load())
    store.begin((folder / "small.toml").read_text(), cells)
    for cell in cells:
        store.write(_record(cell))
    write_reports(store)
    return store.folder


def _record(cell):
    if cell.skip:
        return Record(cell.key, cell.content, "skipped", cell.skip)
    values = tuple(20.0 + cell.nfe + 0.1 * k for k in range(cell.samples))
    score = Score("1", "higher", "dB", sum(values) / len(values), details={"n": float(len(values))})
    model: RecordedModel = {"dtype": "float64", "fingerprint": "f" * 64}
    return Record(
        cell.key, cell.content, "ok", metrics={"psnr": score}, per_sample={"psnr": values}, nfe=cell.nfe, model=model
    )


@pytest.fixture
def store(written, tmp_path):
    shutil.copytree(written, tmp_path / "small")
    return ResultStore(tmp_path / "small")


def test_what_a_run_leaves_has_no_faults(store):
    assert list(faults(store)) == []
    assert list(plan_faults(store, PluginHost.load())) == []


@pytest.mark.parametrize("name", ["suite.toml", "plan.json", "leaderboard.csv", "leaderboard.md", "psnr.png"])
def test_a_file_that_is_missing_or_changed_is_named(store, name):
    file = store.folder / name
    file.write_bytes(file.read_bytes() + b"\n")
    assert f"{file} has been changed: its SHA-256 is not the one in SHA256SUMS." in _told(store)
    file.unlink()
    if name == "plan.json":
        with pytest.raises(CorruptFileError, match=r"plan\.json is absent or damaged"):
            _told(store)
    else:
        assert f"{file} is missing." in _told(store)


def test_a_run_that_did_not_come_to_its_end_has_no_sums(store):
    (store.folder / "SHA256SUMS").unlink()
    assert _told(store) == [f"{store.folder / 'SHA256SUMS'} is missing: the run has not come to its end."]


@pytest.mark.parametrize(("place", "counts"), [("cells/more.json", True), ("solvers/more.json", True), ("notes.txt", False)])
def test_records_and_solvers_that_are_not_listed_are_named(store, place, counts):
    file = store.folder / place
    file.parent.mkdir(exist_ok=True)
    file.write_text("{}")
    assert _told(store) == ([f"{file} is not listed in SHA256SUMS."] if counts else [])


def test_a_missing_record_is_named(store):
    key = store.planned()[0]
    store.record_file(key).unlink()
    assert f"The record of {key} is missing." in _told(store)


def test_a_damaged_record_is_told_and_the_others_are_still_read(store):
    damaged, missing = store.planned()[0], store.planned()[2]
    store.record_file(damaged).write_text("{")
    store.record_file(missing).unlink()
    told = _told(store)
    assert any(str(store.record_file(damaged)) in sentence for sentence in told)
    assert f"The record of {missing} is missing." in told


def test_a_suite_of_another_name_is_told(store):
    moved = store.folder.rename(store.folder.with_name("other"))
    assert f"{moved / 'suite.toml'} names the suite 'small', but its folder is 'other'." in _told(ResultStore(moved))


def test_a_record_of_another_cell_than_its_key_is_told(store):
    record = next(record for record in store.records() if record.status == "ok")
    store.write(replace(record, cell={**record.cell, "seed": 7}))
    write_reports(store)
    assert _told(store) == [f"The record {record.key} describes another cell than its key."]


def test_tables_that_do_not_follow_from_the_records_are_told_with_the_line(store):
    record = next(record for record in store.records() if record.status == "ok")
    score = replace(record.metrics["psnr"], value=record.metrics["psnr"].value + 1)
    store.write(replace(record, metrics={"psnr": score}))
    told = [sentence for sentence in _told(store) if "does not follow from the records" in sentence]
    assert len(told) == 2
    assert told[0].startswith(f"{store.folder / 'leaderboard.csv'} does not follow from the records: line ")
    assert told[1].startswith(f"{store.folder / 'leaderboard.md'} does not follow from the records: line ")
    file = store.folder / "leaderboard.md"
    write_reports(store)
    file.write_text(file.read_text() + "more\n")
    lines = len(file.read_text().splitlines())
    assert f"{file} does not follow from the records: it has {lines} lines instead of {lines - 1}." in _told(store)


def test_a_plan_that_is_not_the_suites_is_told_in_both_directions(store):
    text = store.suite_file.read_text().replace('"euler", ', "")
    store.suite_file.write_text(text)
    told = list(plan_faults(store, PluginHost.load()))
    assert len(told) == 1
    assert told[0].startswith("2 records belong to cells that suite.toml does not give here, such as ")
    store.suite_file.write_text(text.replace('"midpoint"', '"euler", "midpoint", "heun"'))
    assert [sentence.split(",")[0] for sentence in plan_faults(store, PluginHost.load())] == [
        "2 cells of suite.toml are not in plan.json"
    ]


def test_a_value_for_a_cell_that_cannot_be_run_is_told(store):
    record = next(record for record in store.records() if record.status == "skipped")
    store.write(replace(record, status="ok", reason=""))
    assert list(plan_faults(store, PluginHost.load())) == [
        f"The record of {record.key} says ok, but the cell cannot be run: {record.reason}."
    ]


def _told(store):
    return list(faults(store))
