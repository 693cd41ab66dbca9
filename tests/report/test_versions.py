from __future__ import annotations

from dataclasses import replace

import pytest

from bnsbench.report.versions import settle
from bnsbench.suite.record import metric_key, model_key

VALUES = {("euler", n): (20.0 + n, 1.0) for n in (4, 6, 8)}


@pytest.fixture
def records(make_records):
    """Three records of one model, the first of which another version of it has made."""
    made = make_records(VALUES)
    return [replace(record, model={"fingerprint": name}) for record, name in zip(made, ("old", "new", "new"), strict=True)]


def test_one_version_is_left_as_it_is(records):
    same = [replace(record, model={"fingerprint": "new"}) for record in records]
    assert settle(same, {}) == (same, [])
    assert settle(same, {model_key(records[0].cell): "new"}) == (same, [])


def test_a_version_that_is_named_is_current_before_any_record_has_it(records):
    same = [replace(record, model={"fingerprint": "old"}, replicates={"fid": (1.0,)}) for record in records]
    settled, (note,) = settle(same, {model_key(records[0].cell): "new"})
    assert note == "Records of the model ring8 come from 2 versions; 3 are left out: run them again."
    assert all((record.status, record.metrics, record.replicates) == ("failed", {}, {}) for record in settled)
    settled, (note,) = settle(same, {metric_key("fid"): "new"})
    assert note == "Values of the files of the metric fid come from 2 versions; 3 are left out: run them again."
    assert all((list(record.metrics), record.replicates) == (["psnr"], {}) for record in settled)


def test_most_records_decide_unless_the_version_is_known(records):
    key = model_key(records[0].cell)
    for versions, left_out in (({}, [0]), ({key: "new"}, [0]), ({key: "old"}, [1, 2])):
        settled, (note,) = settle(records, versions)
        assert [index for index, record in enumerate(settled) if record.status == "failed"] == left_out
        assert all(settled[index].metrics == {} == settled[index].per_sample for index in left_out)
        assert all(settled[index] == records[index] for index in range(3) if index not in left_out)
        assert f"the model ring8 come from 2 versions; {len(left_out)} are left out" in note
    settled, _ = settle(records[:2], {})
    assert [record.status for record in settled] == ["failed", "ok"]


def test_models_are_told_apart(make_records):
    first, second = make_records({("euler", 4): (20.0, 1.0)}, models=("ring8", "aniso5"))
    several = [replace(first, model={"fingerprint": "a"}), replace(second, model={"fingerprint": "b"})]
    assert settle(several, {}) == (several, [])
    other = replace(first, cell={**first.cell, "dtype": "float32"}, model={"fingerprint": "c"})
    assert settle([several[0], other], {})[1] == []


def test_values_of_other_files_are_left_out(make_records):
    made = make_records(VALUES)
    scores = [replace(record.metrics["psnr"], details={"files": files}) for record, files in zip(made, "aab", strict=True)]
    records = [replace(r, metrics={**r.metrics, "psnr": score}) for r, score in zip(made, scores, strict=True)]
    for versions, left_out in (({}, {2}), ({metric_key("psnr"): "b"}, {0, 1})):
        settled, (note,) = settle(records, versions)
        assert {index for index, record in enumerate(settled) if "psnr" not in record.metrics} == left_out
        assert {index for index, record in enumerate(settled) if not record.per_sample} == left_out
        assert all(record.status == "ok" and "fid" in record.metrics for record in settled)
        assert note.startswith("Values of the files of the metric psnr come from 2 versions")


def test_reasons_of_other_files_are_left_out(make_records):
    made = make_records(VALUES)
    record, *rest = (replace(r, metrics={"psnr": replace(r.metrics["psnr"], details={"files": "a"})}) for r in made)
    reason = replace(record.metrics["psnr"], value=None, reason="it does not apply", details={"files": "b"})
    settled, (note,) = settle([replace(record, metrics={"psnr": reason}), *rest], {})
    assert [list(each.metrics) for each in settled] == [[], ["psnr"], ["psnr"]]
    assert "1 are left out" in note
    silent = replace(reason, details={})
    assert settle([replace(record, metrics={"psnr": silent}), *rest], {})[1] == []
