"""Judgements on results folders: the same in parts, on other processes, and after records were settled."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from bnsbench.report import judging
from bnsbench.report.judging import judge, judge_folder
from bnsbench.report.leaderboard import leaderboard, table
from bnsbench.report.tables import csv
from bnsbench.report.versions import settled_records
from bnsbench.suite.store import ResultStore

VALUES = {(solver, n): (15.0 + 2 * n + k, 0.5 + k) for k, solver in enumerate(("euler", "ab2", "bns")) for n in (4, 8)}


@pytest.fixture
def records(make_records):
    made = [record for seed in range(3) for record in make_records(VALUES, models=("ring8", "aniso5"), seed=seed)]
    return [replace(record, model={"fingerprint": "a", "dtype": "float64"}) for record in made]


@pytest.fixture
def store(records, tmp_path):
    found = ResultStore(tmp_path / "made")
    for record in records:
        found.write(record)
    found.plan_file.write_text(json.dumps({"schema": 1, "cells": [record.key for record in records]}))
    return found


def text(store):
    return csv(table(judge_folder(store)[0]))


def test_a_folder_is_judged_as_its_records_are(store):
    settled, notes = settled_records(store)
    assert text(store) == csv(leaderboard(settled))
    assert (notes, judge_folder(store)[1]) == ([], [])


def test_records_come_without_their_values_in_the_order_of_the_plan(store, records):
    judged, _ = judge_folder(store)
    assert [record.key for record in judged.records] == [record.key for record in records]
    assert not any(record.per_sample for record in judged.records)


def test_other_processes_judge_alike(store, monkeypatch):
    plain = text(store)
    monkeypatch.setattr(judging, "MANY", 1)
    asked = []

    def in_parts(function, parts, workers):
        asked.append((len(parts), workers))
        return map(function, parts)

    monkeypatch.setattr(judging, "in_parts", in_parts)
    assert text(store) == plain
    assert asked == [(6, None)]


def test_fields_in_which_a_record_is_of_another_version_are_judged_again(store, records):
    other = next(record for record in records if record.cell["solver"]["name"] == "bns")
    store.write(replace(other, model={"fingerprint": "b", "dtype": "float64"}))
    judged, notes = judge_folder(store)
    assert len(notes) == 1
    assert csv(table(judged)) == csv(leaderboard(settled_records(store)[0]))
    (row,) = table(judged).query("key == @other.key").to_dict("records")
    assert row["status"] == "failed"
    assert row["psnr"] != row["psnr"]
    rivals = table(judged).query("model == 'ring8' and nfe == 4 and seed == 0")
    assert rivals["psnr_standing"].tolist() == ["", "best", ""]


def test_a_field_that_lies_in_several_parts_is_judged_as_a_whole(store, monkeypatch):
    plain = text(store)
    monkeypatch.setattr(judging, "_parts", lambda keys: [[key] for key in keys])
    assert text(store) == plain


def test_keys_tell_fields_but_those_that_were_cut_off():
    keys = [
        f"ring8_w{w}_{solver}_nfe4_seed{seed}-0a" for w in ("0", "1.5") for seed in (0, 1) for solver in ("euler", "bns")
    ]
    assert judging._parts([*keys, "cut-0a", "off-0b"]) == [keys[:2], keys[2:4], keys[4:6], keys[6:], ["cut-0a", "off-0b"]]


def test_what_is_no_number_is_judged_as_it_is(records):
    odd = [replace(record, per_sample={"psnr": ["x", "y"]}) for record in records[:1]]
    with pytest.raises((TypeError, ValueError)):
        judge(odd)
