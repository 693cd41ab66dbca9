from __future__ import annotations

import errno
import os

import pytest

from bnsbench.errors import BnsbenchError, CorruptFileError
from bnsbench.suite.plan import make_plan
from bnsbench.suite.record import skipped_record
from bnsbench.suite.store import ResultStore, StorageError, find_results, write_text
from bnsbench.suite.suitefile import read_suite


@pytest.fixture
def cells(suite_file, host):
    return make_plan(read_suite(suite_file), host)


@pytest.fixture
def store(tmp_path):
    return ResultStore(tmp_path / "results" / "small")


def test_records_come_in_the_order_of_the_plan(store, cells):
    store.begin("", cells)
    for cell in reversed(cells[:3]):
        store.write(skipped_record(cell))
    assert [record.key for record in store.records()] == [cell.key for cell in cells[:3]]
    assert store.read(cells[4].key) is None


def test_a_record_in_the_place_of_another_is_corrupt(store, cells):
    store.write(skipped_record(cells[0]))
    store.record_file(cells[0].key).rename(store.record_file(cells[1].key))
    with pytest.raises(CorruptFileError, match="belongs to the cell"):
        store.read(cells[1].key)


def test_failing_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    file = tmp_path / "f.txt"
    write_text(file, "old")

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left on device"):
        write_text(file, "new")
    assert [path.name for path in tmp_path.iterdir()] == ["f.txt"]
    assert file.read_text() == "old"


def test_an_unchanged_file_is_not_written(tmp_path, monkeypatch):
    write_text(tmp_path / "f.txt", "same")
    monkeypatch.setattr(os, "fsync", lambda descriptor: pytest.fail("written"))
    write_text(tmp_path / "f.txt", "same")


def test_a_folder_that_is_a_file_is_one_sentence(tmp_path):
    (tmp_path / "results").write_text("")
    with pytest.raises(StorageError, match="the same command resumes"):
        write_text(tmp_path / "results" / "small" / "f.txt", "x")


def test_results_are_found_in_a_folder_or_below_it(store, cells, tmp_path):
    store.begin("", cells)
    assert find_results(store.folder) == find_results(store.folder.parent) == store
    ResultStore(store.folder.parent / "other").begin("", cells)
    with pytest.raises(BnsbenchError, match="several results"):
        find_results(store.folder.parent)
    with pytest.raises(BnsbenchError, match="no results in"):
        find_results(tmp_path / "absent")


def test_damaged_plan_is_corrupt(store, cells):
    store.begin("", cells)
    store.plan_file.write_text("{")
    with pytest.raises(CorruptFileError, match=r"plan\.json"):
        list(store.records())
