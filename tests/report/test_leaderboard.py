from __future__ import annotations

from dataclasses import replace

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


def test_lower_is_better_where_the_metric_says_so(frame):
    assert list(frame[frame["fid_standing"] == "best"]["solver"]) == ["ddim"]


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
