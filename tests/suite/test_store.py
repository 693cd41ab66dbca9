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


PLANS = [
    b"{", b"[]", b"null", b'{"cells": 3}', b'{"cells": [3]}', b'{"cells": ["../x"]}', b'{"cells": ["' + b"k" * 300 + b'"]}',
    b"\xff\xfe", b'{"cells": [NaN]}', b"[" * 100_000, b'{"cells": ["a\\ud800"]}', b'{"schema": ' + b"9" * 5000 + b"}",
]  # fmt: skip


@pytest.mark.parametrize("content", PLANS, ids=lambda content: repr(content[:20]))
def test_a_damaged_plan_is_told_and_its_records_are_still_there(store, cells, content):
    store.begin("", cells)
    for cell in cells[:2]:
        store.write(skipped_record(cell))
    store.plan_file.write_bytes(content)
    with pytest.raises(CorruptFileError, match=r"plan\.json is absent or damaged"):
        store.planned()
    assert store.versions() == {}
    assert "plan.json is damaged" in store.kept()[1]
    assert {record.key for record in store.records()} == {cell.key for cell in cells[:2]}


def damage(file, kind):
    """Damage a record in one of the ways that disks, people and other programs have."""
    whole = file.read_bytes()
    content = {
        "cut": whole[: len(whole) // 2],
        "empty": b"",
        "NaN": whole.replace(b'"nfe": null', b'"nfe": NaN'),
        "deep": b'{"schema": 1, "details": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        "latin-1": b'{"schema": 1, "reason": "\xe4"}',
        "changed": whole.replace(b'"status": "skipped"', b'"status": "diverged"'),
        "huge": b'{"schema": ' + b"1" * 5000 + b"}",
        "newer": whole.replace(b'"schema": 1', b'"schema": 2'),
    }
    file.unlink()
    if kind == "folder":
        (file / "inside").mkdir(parents=True)
    elif kind == "link":
        file.symlink_to(file.with_name("nowhere"))
    else:
        assert content[kind] != whole
        file.write_bytes(content[kind])


DAMAGES = ("cut", "empty", "NaN", "deep", "latin-1", "changed", "huge", "newer", "folder", "link")


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_record_that_cannot_be_read_is_a_row_that_says_so(store, cells, kind):
    store.begin("", cells)
    for cell in cells[:3]:
        store.write(skipped_record(cell))
    damage(store.record_file(cells[1].key), kind)
    with pytest.raises(BnsbenchError, match="The record"):
        store.read(cells[1].key)
    found = list(store.records())
    assert [record.key for record in found] == [cell.key for cell in cells[:3]]
    assert (found[1].status, found[1].reason.startswith("its record ")) == ("failed", True)
    cell = found[1].cell
    assert (cell["model"]["name"], cell["solver"]["name"], cell["nfe"]) == ("tiny", cells[1].solver.name, cells[1].nfe)


def test_what_was_changed_does_not_choose_another_cell(store, cells):
    """The cell that a damaged record describes is believed only if it is the key's."""
    store.begin("", cells)
    store.write(skipped_record(cells[0]))
    file = store.record_file(cells[0].key)
    file.write_text(file.read_text().replace('"seed":0', '"seed":7'))
    (found,) = store.records()
    assert found.cell["seed"] == 0


def test_a_folder_in_the_place_of_a_file_gives_way(store, cells):
    for inside in ((), ("x.txt",)):
        file = store.record_file(cells[0].key)
        file.mkdir(parents=True)
        for name in inside:
            (file / name).write_text("kept")
        store.write(skipped_record(cells[0]))
        assert store.read(cells[0].key) is not None
        store.forget(cells[0].key)
    (aside,) = store.cells.glob(".*.aside")
    assert (aside / "x.txt").read_text() == "kept"
