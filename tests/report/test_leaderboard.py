from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bnsbench.report.leaderboard import TIMINGS, leaderboard

VALUES = {
    ("euler", 4): (20.0, 1.0),
    ("ab2", 4): (25.0, 1.0),
    ("ddim", 4): (25.05, 3.0),
    ("rk4", 4): (15.0, 1.0),
    ("bns", 4): None,
}


@pytest.fixture
def frame(make_records):
    return leaderboard(make_records(VALUES))


def _with_replicates(record, spread, count=100):
    """Return the record with replicates of its FID that share most of their noise with those of other solvers."""
    if record.status != "ok":
        return record
    common = np.random.default_rng(0).normal(0.2, 0.3, count)
    own = np.random.default_rng(sum(record.key.encode())).normal(0, spread, count)
    return replace(record, replicates={"fid": tuple(record.metrics["fid"].value + common + own)})


def test_one_row_per_record_with_the_promised_columns(frame):
    assert list(frame["solver"]) == ["euler", "ab2", "ddim", "rk4", "bns"]
    wanted = [
        "model",
        "guidance",
        "solver",
        "nfe",
        "seed",
        "status",
        "psnr",
        "psnr_low",
        "psnr_high",
        "psnr_median",
        "psnr_p05",
    ]
    assert list(frame.columns[: len(wanted)]) == wanted
    assert {"fid", "forwards", "train_forwards", "seconds", "reason"} <= set(frame.columns)
    assert tuple(frame.columns[-3:]) == TIMINGS
    assert "fid_low" not in frame.columns


def test_failed_cell_is_a_row_with_its_reason(frame):
    row = frame[frame["solver"] == "bns"].iloc[0]
    assert (row["status"], row["reason"]) == ("failed", "it broke")
    assert row[["psnr", "fid"]].isna().all()


def test_best_and_what_the_noise_cannot_tell_from_it(frame):
    """0.05 dB apart with 200 samples of 3 dB spread: the standard error is 0.22 dB, so it is a tie."""
    standings = dict(zip(frame["solver"], frame["psnr_standing"], strict=True))
    assert standings == {"ddim": "best", "ab2": "tied", "euler": "", "rk4": "", "bns": ""}


def test_lower_is_better_where_the_metric_says_so(make_records):
    records = [_with_replicates(record, 0.01) for record in make_records(VALUES)]
    frame = leaderboard(records)
    assert list(frame[frame["fid_standing"] == "best"]["solver"]) == ["ddim"]
    assert list(frame[frame["fid_standing"] == "tied"]["solver"]) == ["ab2"]


def test_solvers_of_different_fields_and_seeds_do_not_compete(make_records):
    values = {("euler", 4): (20.0, 1.0), ("ab2", 4): (25.0, 1.0), ("euler", 8): (30.0, 1.0)}
    frame = leaderboard([*make_records(values, models=("ring8", "aniso5")), *make_records(values, seed=1)])
    assert list(frame[frame["psnr_standing"] == "best"].groupby(["model", "seed", "nfe"]).size()) == [1] * 6


def test_no_records_make_an_empty_leaderboard():
    assert leaderboard([]).empty


def test_components_of_one_name_are_told_apart_by_their_plugins(make_records):
    def of_plugin(record, kind):
        return replace(record, cell={**record.cell, kind: {**record.cell[kind], "provider": "acme"}})

    records = make_records({("euler", 4): (20.0, 1.0), ("ab2", 4): (25.0, 1.0)})
    frame = leaderboard([*records, of_plugin(records[0], "solver")])
    assert list(frame["solver"]) == ["euler", "ab2", "acme/euler"]
    assert list(leaderboard([of_plugin(record, "solver") for record in records])["solver"]) == ["euler", "ab2"]
    frame = leaderboard([*records, *(of_plugin(record, "model") for record in records)])
    assert list(frame["model"]) == ["ring8", "ring8", "acme/ring8", "acme/ring8"]
    assert list(frame["psnr_standing"]) == ["", "best", "", "best"]


def test_further_measures_of_psnr_stand_beside_the_mean(make_records):
    records = make_records(VALUES)
    frame = leaderboard(records)
    assert frame.attrs["metrics"] == ["psnr", "fid"]
    assert frame.attrs["measures"] == ["psnr", "psnr_mse", "psnr_p05", "fid"]
    assert (frame.attrs["units"]["psnr_mse"], frame.attrs["directions"]) == (
        "dB",
        {"psnr": "higher", "psnr_mse": "higher", "psnr_p05": "higher", "fid": "lower"},
    )
    for record, (_, row) in zip(records[:4], frame.iterrows(), strict=False):
        values = np.array(record.per_sample["psnr"])
        assert row["psnr_mse"] == pytest.approx(-10 * np.log10(np.mean(10 ** (-values / 10))))
        assert row["psnr_p05"] == pytest.approx(np.quantile(values, 0.05))
        assert row["psnr_mse_low"] < row["psnr_mse"] < row["psnr_mse_high"]
        assert row["psnr_p05_low"] < row["psnr_p05"] < row["psnr_p05_high"]
    standings = dict(zip(frame["solver"], frame["psnr_p05_standing"], strict=True))
    assert (standings["euler"], standings["rk4"], standings["bns"]) == ("", "", "")
    assert "best" in standings.values()


def test_measures_may_disagree(make_records):
    """One solver has the better mean, the other the better worst samples."""
    steady, erratic = make_records({("euler", 4): (30.0, 1.0), ("ab2", 4): (30.0, 1.0)})
    values = np.array(steady.per_sample["psnr"])
    values = np.where(np.arange(200) % 5 == 0, values - 15, values + 6)
    score = replace(erratic.metrics["psnr"], value=float(values.mean()))
    erratic = replace(erratic, metrics={"psnr": score}, per_sample={"psnr": tuple(values)})
    frame = leaderboard([steady, erratic])
    best = {name: frame[frame[f"{name}_standing"] == "best"]["solver"].item() for name in frame.attrs["measures"][:3]}
    assert best == {"psnr": "ab2", "psnr_mse": "euler", "psnr_p05": "euler"}


def test_records_without_samples_have_the_recorded_quantile_and_no_standings(make_records):
    frame = leaderboard([replace(record, per_sample={}) for record in make_records(VALUES)])
    assert frame["psnr_p05"].tolist()[:4] == [12.0, 17.0, 17.05, 7.0]
    assert set(frame["psnr_standing"]) == set(frame["psnr_p05_standing"]) == {""}
    assert not {"psnr_mse", "psnr_mse_standing", "psnr_rank_low"} & set(frame.columns)


def test_kind_and_grid_of_solvers(make_records):
    records = make_records({("euler", 4): (20.0, 1.0), ("ab2", 4): (25.0, 1.0), ("bns", 4): (30.0, 1.0), ("bns", 8): None})
    tuned = replace(records[1], solver={"kind": "tuned", "grid": "Kumaraswamy 1.25, 1.6"}, train_forwards=900)
    direct = replace(records[0], solver={"kind": "direct"})
    frame = leaderboard([records[0], tuned, direct, *records[2:]])
    assert list(frame["kind"]) == ["classic", "tuned", "direct", "learned", "learned"]
    assert list(frame["grid"]) == ["", "Kumaraswamy 1.25, 1.6", "", "", ""]


def test_order_of_columns(frame):
    columns = list(frame.columns)
    assert columns[:6] == ["model", "guidance", "solver", "nfe", "seed", "status"]
    psnr = ["psnr", "psnr_low", "psnr_high", "psnr_median", "psnr_p05", "psnr_standing", "psnr_rank_low", "psnr_rank_high"]
    assert columns[6:14] == psnr
    assert columns.index("key") + 1 == columns.index("seconds")


def test_figures_of_distributions_have_intervals_from_their_replicates(make_records):
    records = [_with_replicates(record, 0.01) for record in make_records(VALUES)]
    frame = leaderboard(records)
    for record, (_, row) in zip(records[:4], frame.iterrows(), strict=False):
        half = 1.984217 * np.std(record.replicates["fid"], ddof=1)
        assert (row["fid_low"], row["fid_high"]) == pytest.approx((row["fid"] - half, row["fid"] + half))


def test_planned_metrics_have_columns_where_no_record_has_any(make_records):
    failed = [replace(record, status="failed", metrics={}) for record in make_records(VALUES)]
    frame = leaderboard(failed, planned=["fid", "psnr", "fid"])
    assert list(frame.columns[6:]) == ["psnr", "psnr_standing", "fid", "fid_standing", *leaderboard(failed).columns[6:]]
    assert frame[["psnr", "fid"]].isna().all(axis=None)
    assert frame.attrs["metrics"] == frame.attrs["measures"] == ["psnr", "fid"]
    some = make_records(VALUES)
    assert list(leaderboard(some, planned=["clip"]).columns) == list(leaderboard(some).columns)
