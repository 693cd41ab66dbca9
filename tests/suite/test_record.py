from __future__ import annotations

import json
import re
from dataclasses import fields, replace

import pytest

from bnsbench.errors import BnsbenchError, CorruptFileError
from bnsbench.suite.plan import make_plan
from bnsbench.suite.record import SCHEMA, Draft, Record, Score, format_record, read_record, skipped_record
from bnsbench.suite.suitefile import read_suite


@pytest.fixture
def cell(suite_file, host):
    return make_plan(read_suite(suite_file), host)[0]


@pytest.fixture
def record(cell):
    psnr, width = (metric.version for metric in cell.metrics)
    details = {"median": 31.0, "n": 3}
    scores = {
        "psnr": Score(version=psnr, unit="dB", value=31.25, low=30.5, high=32.0, details=details),
        "width": Score(version=width, value=0.5),
    }
    return Record(
        cell.key,
        cell.content,
        "ok",
        metrics=scores,
        nfe=2,
        forwards=2,
        train_forwards=0,
        seconds={"sampling": 1.25e-5, "total": 0.5},
        solver={"fingerprint": "ab12"},
        truth={"tolerance": 1e-5, "ceiling": 99.125, "nfe": 80.0},
        per_sample={"psnr": (31.0, 30.123, 32.5)},
        replicates={"width": (0.5, 0.25)},
    )


def test_round_trip(record, tmp_path):
    file = tmp_path / "r.json"
    file.write_text(format_record(record))
    assert read_record(file).to_dict() == record.to_dict()


def test_every_altered_number_is_noticed(record, tmp_path):
    """Change each digit in the file in turn: none may pass unnoticed."""
    file = tmp_path / "r.json"
    text = format_record(record)
    places = [match.start() for match in re.finditer(r"\d", text)]
    assert len(places) > 100
    for place in places:
        file.write_text(text[:place] + str((int(text[place]) + 1) % 10) + text[place + 1 :])
        with pytest.raises(BnsbenchError):
            read_record(file)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"schema": 1}', '{"schema": 1, "checksum": "x"}', "\x00\x00"])
def test_what_is_no_record_is_corrupt(tmp_path, text):
    file = tmp_path / "r.json"
    file.write_text(text)
    with pytest.raises(CorruptFileError, match=r"r\.json is damaged"):
        read_record(file)


def test_every_truncation_is_corrupt(record, tmp_path):
    file = tmp_path / "r.json"
    text = format_record(record)
    for length in range(0, len(text) - 2, 37):
        file.write_text(text[:length])
        with pytest.raises(CorruptFileError):
            read_record(file)


def test_newer_schema_is_not_guessed_at(record, tmp_path):
    file = tmp_path / "r.json"
    file.write_text(json.dumps({**record.to_dict(), "schema": SCHEMA + 1}))
    with pytest.raises(BnsbenchError, match="newer") as caught:
        read_record(file)
    assert not isinstance(caught.value, CorruptFileError)


@pytest.mark.parametrize(
    ("status", "final"), [("ok", True), ("skipped", True), ("diverged", True), ("failed", False), ("timeout", False)]
)
def test_failures_and_timeouts_are_run_again(record, cell, status, final):
    assert replace(record, status=status).answers(cell) is final


def test_a_record_without_a_wanted_metric_does_not_answer(record, cell):
    assert not replace(record, metrics={"psnr": record.metrics["psnr"]}).answers(cell)


def test_a_record_of_another_version_of_a_metric_does_not_answer(record, cell):
    newer = tuple(replace(metric, version="2") for metric in cell.metrics)
    assert not record.answers(replace(cell, metrics=newer))


def test_a_metric_that_does_not_apply_answers_too(record, cell):
    scores = {**record.metrics, "width": Score(cell.metrics[1].version, reason="no width")}
    assert replace(record, metrics=scores).answers(cell)


def test_skipped_cells_say_why(cell):
    record = skipped_record(replace(cell, skip="no such budget"))
    assert (record.status, record.reason, record.key) == ("skipped", "no such budget", cell.key)


def test_a_draft_finishes_as_the_record_of_what_is_known(record, cell):
    draft = Draft(cell)
    assert draft.finish("timeout", "too long") == Record(cell.key, cell.content, "timeout", "too long")
    for name in Draft.__slots__:
        if name != "cell":
            setattr(draft, name, getattr(record, name))
    assert draft.finish("ok").to_dict() == record.to_dict()


def test_a_draft_has_the_fields_of_a_record_and_no_others(cell):
    ends = {"key", "cell", "status", "reason"}
    assert set(Draft.__slots__) - {"cell"} == {field.name for field in fields(Record)} - ends
    with pytest.raises(AttributeError):
        Draft(cell).forward = 3  # type: ignore[attr-defined]
