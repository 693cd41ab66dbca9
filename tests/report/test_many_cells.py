"""Results of many cells: what saves memory and time changes no table, and what is damaged is a row as ever."""

from __future__ import annotations

from functools import partial

import pytest

from bnsbench.report.compare import compare
from bnsbench.report.results import read_leaderboard
from bnsbench.report.tables import csv, markdown
from bnsbench.report.versions import settled_records
from bnsbench.storage.shelf import Shelf, Shelved
from bnsbench.suite.store import ResultStore

SOLVERS = ("euler", "midpoint", "heun", "ab2", "ddim", "bns")


@pytest.fixture
def store(make_records, tmp_path):
    """A results folder of 360 cells of 200 values, of which one is damaged."""
    values = {(solver, n): (10.0 + 2 * n + k, 0.5 + k) for k, solver in enumerate(SOLVERS) for n in (4, 8, 12)}
    records = [record for seed in range(20) for record in make_records(values, seed=seed)]
    found = ResultStore(tmp_path / "many")
    for record in records:
        found.write(record)
    keys = [record.key for record in records]
    found.plan_file.write_text('{"schema": 1, "cells": ["' + '", "'.join(keys) + '"]}')
    damaged = found.record_file(keys[7])
    damaged.write_text(damaged.read_text().replace('"psnr":[', '"psnr":[1'))
    return found


def test_tables_are_the_same_wherever_values_lie(store, monkeypatch):
    plain = read_leaderboard(store)
    assert len(plain) == 360
    assert plain["status"].value_counts().to_dict() == {"ok": 359, "failed": 1}
    assert "does not match its checksum" in plain["reason"][7]
    monkeypatch.setattr("bnsbench.suite.store.Shelf", partial(Shelf, most=5000))
    kinds = {type(record.per_sample["psnr"]) for record in store.records() if record.per_sample}
    assert kinds == {list, Shelved}
    shelved = read_leaderboard(store)
    assert (csv(shelved), markdown(shelved)) == (csv(plain), markdown(plain))


def test_comparisons_are_the_same_wherever_values_lie(store, monkeypatch, tmp_path):
    def changed(records):
        return [record for record in records if record.cell["nfe"] > 4]

    plain = compare(settled_records(store)[0], changed(settled_records(store)[0]))
    monkeypatch.setattr("bnsbench.suite.store.Shelf", partial(Shelf, most=5000))
    shelved = compare(settled_records(store)[0], changed(settled_records(store)[0]))
    assert shelved.equals(plain)
    assert len(plain) == 120


def test_records_are_written_from_a_shelf_as_they_were(store, monkeypatch, tmp_path):
    monkeypatch.setattr("bnsbench.suite.store.Shelf", partial(Shelf, most=0))
    copy = ResultStore(tmp_path / "copy")
    for record in store.records():
        if record.status == "ok":
            copy.write(record)
            assert copy.record_file(record.key).read_bytes() == store.record_file(record.key).read_bytes()
