from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from bnsbench.report.compare import compare, unequal_counts, verdicts
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
    frame = compare(records, [_changed(record, 1e-3) for record in records])
    assert list(frame["metric"]) == ["psnr", "psnr_mse", "psnr_p05"] * 3
    assert set(frame["verdict"]) == {"better"}


def test_change_is_judged_by_the_paired_interval(records):
    frame = compare(
        records, [_changed(records[0], 0.5, 1.0), _changed(records[1], -0.3, 0.1), _changed(records[2], 0.01, 3.0)]
    )
    frame = frame[frame["metric"] == "psnr"].reset_index()
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
        ("ab2", "psnr_mse"): "only in A",
        ("ab2", "psnr_p05"): "only in A",
        ("ab2", "fid"): "only in A",
        ("bns", ""): "only in B",
    }


def test_components_of_other_plugins_are_others(make_records):
    records = make_records({("euler", 4): (20.0, 1.0)})
    cell = records[0].cell
    theirs = [replace(records[0], cell={**cell, "solver": {**cell["solver"], "provider": "acme"}})]
    found = compare(records, theirs)
    assert found[["solver", "verdict"]].to_numpy().tolist() == [["euler", "only in A"], ["acme/euler", "only in B"]]


def _psnr(frame):
    return frame[frame["metric"] == "psnr"].iloc[0]


def test_further_measures_of_psnr_are_compared_by_their_own_differences(records):
    """Half a sample in ten comes out far worse, the others a little better: the mean hardly moves, the worst samples do."""
    values = np.array(records[0].per_sample["psnr"])
    changed = np.where(np.arange(200) % 10 == 0, values - 10, values + 1.2)
    score = replace(records[0].metrics["psnr"], value=float(changed.mean()))
    first = replace(records[0], metrics={"psnr": replace(score, value=float(values.mean()))})
    frame = compare([first], [replace(first, metrics={"psnr": score}, per_sample={"psnr": tuple(changed)})])
    found = frame.set_index("metric")
    assert dict(found["verdict"]) == {"psnr": "within noise", "psnr_mse": "within noise", "psnr_p05": "worse"}
    mse = [-10 * np.log10(np.mean(10 ** (-each / 10))) for each in (values, changed)]
    assert list(found.loc["psnr_mse", ["a", "b", "difference"]]) == pytest.approx([*mse, mse[1] - mse[0]])
    p05 = [np.quantile(each, 0.05) for each in (values, changed)]
    assert list(found.loc["psnr_p05", ["a", "b", "difference"]]) == pytest.approx([*p05, p05[1] - p05[0]])
    assert (found["low"] < found["difference"]).all()
    assert (found["difference"] < found["high"]).all()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cell", {"seed": 7}),
        ("cell", {"guidance": 3.0}),
        ("cell", {"model": {"name": "ring8", "provider": "builtin", "version": "other", "parameters": {}}}),
        ("model", {"fingerprint": "of other weights"}),
    ],
)
def test_only_samples_of_the_same_noise_and_model_are_paired(records, name, value):
    from bnsbench.report.compare import _change

    other = _changed(records[0], 0.5, 1.0)
    same = _change(records[0], other, "psnr")
    assert same is not None
    assert same["verdict"] == "better"
    other = replace(other, **{name: {**getattr(other, name), **value}})
    found = _change(records[0], other, "psnr")
    assert found is not None
    assert (found["verdict"], "low" in found) == ("changed", False)
    assert found["difference"] == pytest.approx(0.5)


def test_fingerprints_decide_over_whole_results(records):
    """Weights that were trained again: the same cells, but sample k ends elsewhere."""
    before = [replace(record, model={"fingerprint": "a"}) for record in records]
    after = [replace(_changed(record, 0.5, 1.0), model={"fingerprint": "b"}) for record in records]
    assert set(compare(before, after)["verdict"]) == {"changed"}
    assert set(compare(after, before)["verdict"]) == {"changed"}


def test_of_fewer_samples_the_common_first_are_paired(records):
    """Sample k has the same noise whatever the number of samples."""
    fewer = _changed(records[0], 0.5, 1.0)
    first = fewer.per_sample["psnr"][:50]
    score = replace(fewer.metrics["psnr"], value=float(np.mean(first)))
    fewer = replace(fewer, cell={**fewer.cell, "samples": 50}, metrics={"psnr": score}, per_sample={"psnr": first})
    many = replace(records[0], metrics={"psnr": records[0].metrics["psnr"]})
    row = _psnr(compare([many], [fewer]))
    interval = stats.ttest_rel(first, many.per_sample["psnr"][:50]).confidence_interval(0.95)
    assert (row["low"], row["high"]) == pytest.approx((interval.low, interval.high))
    assert row["difference"] == pytest.approx(0.5)
    assert row["verdict"] == "better"
    back = _psnr(compare([fewer], [many]))
    assert (back["low"], back["verdict"]) == (pytest.approx(-interval.high), "worse")


def test_the_number_of_pairs_is_told(records):
    def cut(record, count):
        first = record.per_sample["psnr"][:count]
        return replace(record, cell={**record.cell, "samples": count}, per_sample={"psnr": first})

    fewer = [cut(_changed(record, 0.5, 1.0), 50) for record in records]
    frame = compare(records, fewer)
    assert set(frame[frame["metric"] == "psnr"]["samples"]) == {50}
    assert unequal_counts(records, fewer).startswith("The numbers of samples differ (200 and 50): a and b are over all")
    assert unequal_counts(fewer, records).startswith("The numbers of samples differ (50 and 200)")
    assert unequal_counts(records, records) == ""
    other = replace(fewer[0], cell={**fewer[0].cell, "seed": 9})
    assert unequal_counts(records, [other]) == ""


def test_distances_are_compared_by_their_replicates(records):
    rng = np.random.default_rng(0)
    common = rng.normal(0, 1, 100)

    def with_fid(value, own, samples=200):
        replicates = {"fid": tuple(value + common + own * rng.normal(0, 1, 100))}
        metrics = {"fid": Score("1", "lower", value=value)}
        cell = {**records[0].cell, "samples": samples}
        return replace(records[0], cell=cell, metrics=metrics, per_sample={}, replicates=replicates)

    a = with_fid(3.0, 0.0)
    assert list(compare([a], [with_fid(2.5, 0.1)])["verdict"]) == ["better"]
    assert list(compare([a], [with_fid(3.5, 0.1)])["verdict"]) == ["worse"]
    assert list(compare([a], [with_fid(2.5, 1.0)])["verdict"]) == ["within noise"]
    # Other samples are resampled otherwise, so that nothing can be paired.
    assert list(compare([a], [with_fid(2.5, 0.1, samples=100)])["verdict"]) == ["changed"]


def test_verdicts_are_counted(records):
    frame = compare(records, [_changed(records[0], 0.5, 1.0), *records[1:2]])
    assert verdicts(frame[frame["metric"].isna() | (frame["metric"] == "psnr")]) == "1 better, 1 only in A"


def test_gains_over_the_best_classic_are_compared(records):
    """The learned solver gets 1 dB better and the best classic 3 dB, each by sample: the lead shrinks by 2 dB."""
    after = [records[0], _changed(records[1], 3.0, 0.1), _changed(records[2], 1.0, 0.2)]
    frame = compare(records, after)
    row = frame[frame["metric"] == "psnr_gain"].iloc[0]
    assert (row["solver"], row["verdict"]) == ("bns", "worse")
    assert (row["a"], row["b"], row["difference"]) == pytest.approx((5.0, 3.0, -2.0))
    leads = [np.subtract(each[2].per_sample["psnr"], each[1].per_sample["psnr"]) for each in (records, after)]
    interval = stats.ttest_rel(leads[1], leads[0]).confidence_interval(0.95)
    assert (row["low"], row["high"]) == pytest.approx((interval.low, interval.high))
    further = frame[frame["metric"].isin(["psnr_mse_gain", "psnr_p05_gain"])]
    assert list(further["verdict"]) == ["changed", "changed"]


def test_a_gain_shrinks_when_another_classic_takes_the_lead(records):
    """Euler passes AB2 by 2 dB: the learned solver did not change, and leads by less."""
    frame = compare(records, [_changed(records[0], 7.0, 0.1), *records[1:]])
    row = frame[frame["metric"] == "psnr_gain"].iloc[0]
    assert (row["a"], row["b"]) == pytest.approx((5.0, 3.0), abs=1e-3)
    assert row["verdict"] == "worse"


def test_a_gain_that_stays_is_not_told(records):
    frame = compare(records, [_changed(records[0], -3.0, 0.1), *records[1:]])
    assert set(frame["solver"]) == {"euler"}
    assert not frame["metric"].str.endswith("_gain").any()
    together = compare(records, [_changed(record, 1.0) for record in records])
    assert set(together["metric"]) == {"psnr", "psnr_mse", "psnr_p05"}
