from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from bnsbench.report.gains import gains
from bnsbench.report.kinds import kinds
from bnsbench.report.leaderboard import leaderboard

VALUES = {("euler", 4): (20.0, 1.0), ("ab2", 4): (25.0, 1.0), ("bns", 4): (30.0, 2.0), ("rk4", 8): (35.0, 1.0)}


@pytest.fixture
def records(make_records):
    """Euler plain, AB2 tuned, BNS learned at 4 NFE; RK4 alone at 8."""
    made = make_records(VALUES)
    return [replace(each, solver={"kind": "tuned"}) if each.cell["solver"]["name"] == "ab2" else each for each in made]


def gain_of(records, measure="psnr"):
    (found,) = [gain for gain in gains(records, kinds(records), measure) if gain is not None]
    return found


def test_a_gain_is_over_the_best_classic_of_the_column_tuned_or_not(records):
    gain = gain_of(records)
    assert records[gain.over].cell["solver"]["name"] == "ab2"
    assert (gain.value, gain.untuned) == pytest.approx((5.0, 10.0), abs=1e-3)
    samples = [records[k].per_sample["psnr"] for k in (2, gain.over)]
    interval = stats.ttest_rel(*samples).confidence_interval(0.95)
    assert (gain.low, gain.high) == pytest.approx((interval.low, interval.high))


def test_every_measure_has_its_own_best_classic(records):
    """Euler is better in the worst samples, AB2 on average."""
    values = np.array(records[0].per_sample["psnr"])
    records[0] = replace(records[0], per_sample={"psnr": tuple(np.maximum(values, 19.0))})
    gain = gain_of(records, "psnr_p05")
    assert records[gain.over].cell["solver"]["name"] == "euler"
    worst = [np.quantile(records[k].per_sample["psnr"], 0.05) for k in (2, 0)]
    assert gain.value == pytest.approx(worst[0] - worst[1])
    assert records[gain_of(records).over].cell["solver"]["name"] == "ab2"


def test_only_learned_solvers_gain_and_only_in_decibels(records):
    found = gains(records, kinds(records), "psnr")
    assert [gain is not None for gain in found] == [record.cell["solver"]["name"] == "bns" for record in records]
    assert gains(records, kinds(records), "fid") == [None] * len(records)


def test_without_a_classic_there_is_no_gain_and_without_a_plain_one_none_over_the_untuned(records):
    alone = [record for record in records if record.cell["solver"]["name"] in ("bns", "rk4")]
    assert gains(alone, kinds(alone), "psnr") == [None, None]
    assert gain_of(records[1:]).untuned is None


def test_samples_that_were_not_recorded_leave_the_gain_without_interval(records):
    bare = [replace(record, per_sample={}) for record in records]
    gain = gain_of(bare)
    assert (gain.value, gain.low, gain.high) == (pytest.approx(5.0), None, None)


def test_failed_cells_count_on_neither_side(records):
    broken = [replace(record, status="failed", metrics={}) if record is records[1] else record for record in records]
    assert broken[gain_of(broken).over].cell["solver"]["name"] == "euler"


def test_the_leaderboard_has_the_gains_of_learned_solvers(records):
    frame = leaderboard(records).set_index("solver")
    assert frame.loc["bns", "psnr_gain_over"] == "ab2"
    assert list(frame.loc["bns", ["psnr_gain", "psnr_gain_untuned"]]) == pytest.approx([5.0, 10.0], abs=1e-3)
    assert frame.loc[["euler", "ab2"], "psnr_gain"].isna().all()
    assert "fid_gain" not in frame.columns
