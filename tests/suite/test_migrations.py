"""Records of earlier schemas: there are none yet, so that artificial ones stand for those to come."""

from __future__ import annotations

import json

import pytest

from bnsbench.errors import CorruptFileError
from bnsbench.suite import record
from bnsbench.suite.migrations import STEPS, migrated
from bnsbench.suite.plan import make_plan
from bnsbench.suite.record import SCHEMA, format_record, read_record, skipped_record
from bnsbench.suite.store import ResultStore
from bnsbench.suite.suitefile import read_suite


def renamed(content):
    """From schema 0, in which a status was called an outcome."""
    return {**{name: value for name, value in content.items() if name != "outcome"}, "status": content["outcome"]}


def in_decibels(content):
    """From schema 1, in which PSNR was told in bel."""
    psnr = content["metrics"]["psnr"]
    return {**content, "metrics": {"psnr": {**psnr, "value": 10 * psnr["value"]}}}


TWO = {0: renamed, 1: in_decibels}


def test_steps_follow_each_other():
    old = {"schema": 0, "outcome": "ok", "metrics": {"psnr": {"value": 3.0}}}
    assert migrated(old, 2, TWO) == {"schema": 2, "status": "ok", "metrics": {"psnr": {"value": 30.0}}}
    assert migrated(old, 1, TWO) == {"schema": 1, "status": "ok", "metrics": {"psnr": {"value": 3.0}}}
    assert old == {"schema": 0, "outcome": "ok", "metrics": {"psnr": {"value": 3.0}}}


def test_present_content_stays():
    content = {"schema": 2, "status": "ok"}
    assert migrated(content, 2, TWO) == content


@pytest.mark.parametrize("schema", [-1, -(10**9)])
def test_a_schema_that_no_step_begins_at_is_corrupt(schema):
    with pytest.raises(CorruptFileError, match=f"schema {schema}, from which no step leads to 2"):
        migrated({"schema": schema}, 2, TWO)


def test_every_schema_but_the_present_one_has_its_step():
    assert sorted(STEPS) == list(range(1, SCHEMA))


@pytest.fixture
def old_file(tmp_path, suite_file, host, monkeypatch):
    """A record as schema 0 would have had it, with its checksum, where the step from there is known."""
    monkeypatch.setitem(STEPS, 0, renamed)
    made = skipped_record(make_plan(read_suite(suite_file), host)[0])
    content = {**made.to_dict(), "schema": 0}
    content["outcome"] = content.pop("status")
    del content["checksum"]
    content["checksum"] = record._checksum(content)
    file = ResultStore(tmp_path).record_file(made.key)
    file.parent.mkdir()
    file.write_text(json.dumps(content))
    return file, made


def test_an_older_record_is_read_as_a_present_one(old_file):
    file, made = old_file
    assert read_record(file) == made
    assert format_record(read_record(file)) == format_record(made)


def test_an_older_record_is_checked_before_it_is_changed(old_file):
    file, _ = old_file
    file.write_text(file.read_text().replace('"skipped"', '"ok"'))
    with pytest.raises(CorruptFileError, match="does not match its checksum"):
        read_record(file)


def test_what_a_step_makes_is_checked(old_file, monkeypatch):
    file, _ = old_file
    monkeypatch.setitem(STEPS, 0, lambda content: {**content, "status": "splendid"})
    with pytest.raises(CorruptFileError, match="its status is not as it should be"):
        read_record(file)
