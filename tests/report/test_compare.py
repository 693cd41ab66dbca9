from __future__ import annotations

from dataclasses import replace

import pytest
from scipy import stats

from bnsbench.report.compare import compare
from bnsbench.suite.record import Score


@pytest.fixture
def records(make_records):
    return make_records({("euler", 4): (20.0, 1.0), ("ab2", 4): (25.0, 1.0), ("bns", 4): (30.0, 1.0)})


def _changed(record, shift, spread=0.0):
    values = [value + shift + spread * (-1) ** k for k, value in enumerate(record.per_sample["psnr"])]
    score = replace(record.metrics["psnr"], value=record.metrics["psnr"].value + shift)
    return replace(record, metrics={**record.metrics, "psnr": score}, per_sample={"psnr": tuple(values)})


def test_equal_results_differ_in_nothing(records):
    assert compare(records, records).empty


def test_rounding_is_no_difference(records):
    assert compare(records, [_changed(record, 1e-5) for record in records]).empty
    assert len(compare(records, [_changed(record, 1e-3) for record in records])) == 3


def test_change_is_judged_by_the_paired_interval(records):
    frame = compare(
        records, [_changed(records[0], 0.5, 1.0), _changed(records[1], -0.3, 0.1), _changed(records[2], 0.01, 3.0)]
    )
    assert list(frame["verdict"]) == ["better", "worse", "within noise"]
    assert list(frame["difference"]) == pytest.approx([0.5, -0.3, 0.01])
    changed = _changed(records[0], 0.5, 1.0).per_sample["psnr"]
    interval = stats.ttest_rel(changed, records[0].per_sample["psnr"]).confidence_interval(0.95)
    assert (frame["low"][0], frame["high"][0]) == pytest.approx((interval.low, interval.high))


def test_lower_is_better_for_metrics_that_say_so(records):
    def with_fid(record, value, samples):
        return replace(record, metrics={"fid": Score("1", "lower", value=value)}, per_sample={"fid": samples})

    frame = compare([with_fid(records[0], 2.0, (2.0, 2.1, 1.9))], [with_fid(records[0], 1.0, (1.0, 1.1, 0.9))])
    assert list(frame["verdict"]) == ["better"]


def test_metric_without_samples_is_just_changed(records):
    other = replace(records[0], metrics={"fid": Score("1", "lower", value=9.0)}, per_sample={})
    frame = compare([replace(records[0], metrics={"fid": records[0].metrics["fid"]})], [other])
    assert list(frame["verdict"]) == ["changed"]


def test_missing_cells_metrics_and_statuses_are_told(records):
    failed = replace(records[1], status="failed", metrics={}, per_sample={})
    frame = compare(records[:2], [failed, records[2]])
    found = {
        (row["solver"], row["metric"] if isinstance(row["metric"], str) else ""): row["verdict"]
        for _, row in frame.iterrows()
    }
    assert found == {
        ("euler", ""): "only in A",
        ("ab2", ""): "ok -> failed",
        ("ab2", "psnr"): "only in A",
        ("ab2", "fid"): "only in A",
        ("bns", ""): "only in B",
    }


def test_components_of_other_plugins_are_others(make_records):
    records = make_records({("euler", 4): (20.0, 1.0)})
    cell = records[0].cell
    theirs = [replace(records[0], cell={**cell, "solver": {**cell["solver"], "provider": "acme"}})]
    found = compare(records, theirs)
    assert found[["solver", "verdict"]].to_numpy().tolist() == [["euler", "only in A"], ["acme/euler", "only in B"]]
