"""Ranks, needed NFE and performance profiles, against values worked out by hand."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from bnsbench.errors import UsageError
from bnsbench.report.leaderboard import leaderboard
from bnsbench.report.profiles import Curve, Need, needed_nfe, profile, ranks, share_at


def about(nfe: float) -> Any:
    """Return what equals the number within rounding, wherever a number is asked for."""
    return pytest.approx(nfe)


def board(values, units="dB"):
    """Return a leaderboard of PSNRs: (model, solver) -> {NFE: dB, or None for a cell without a value}."""
    rows = [
        {"model": model, "guidance": 0.0, "seed": 0, "solver": solver, "nfe": n, "psnr": value, "psnr_standing": ""}
        for (model, solver), cells in values.items()
        for n, value in cells.items()
    ]
    frame = pd.DataFrame(rows).assign(
        kind=lambda rows: rows["solver"].map(lambda name: "learned" if name == "bns" else "classic")
    )
    frame.attrs.update(metrics=["psnr"], measures=["psnr"], units={"psnr": units}, directions={"psnr": "higher"})
    return frame


VALUES: dict[tuple[str, str], dict[int, float | None]] = {
    ("one", "bns"): {4: 30.0, 8: 50.0},
    ("one", "ab2"): {4: 20.0, 8: 40.0},
    ("one", "euler"): {4: 10.0, 8: 25.0},
    ("two", "bns"): {4: 20.0, 8: 40.0},
    ("two", "ab2"): {4: 25.0, 8: 35.0},
    ("two", "euler"): {4: 15.0, 8: 20.0},
}


@pytest.mark.parametrize(
    ("target", "nfe", "bound"),
    [(10, 4, "<="), (20, 4, ""), (25, 5, ""), (30, 6, ""), (35, 7, ""), (40, 8, ""), (40.01, 8, ">"), (99, 8, ">")],
)
def test_need_is_linear_between_budgets_and_bounded_beyond(target, nfe, bound):
    assert Curve((4, 6, 8), (20.0, 30.0, 40.0)).need(target) == Need(nfe, bound)


def test_what_has_been_reached_stays_reached():
    curve = Curve((4, 6, 8, 10), (20.0, 30.0, 24.0, 34.0))
    assert curve.need(28) == Need(about(5.6))
    assert curve.need(30) == Need(6.0)
    assert curve.need(32) == Need(about(9.6))


def test_a_single_budget_gives_bounds_only():
    curve = Curve((4,), (20.0,))
    assert [curve.need(target) for target in (10, 20, 30)] == [Need(4, "<="), Need(4), Need(4, ">")]


@pytest.mark.parametrize(("need", "text"), [(Need(4, "<="), "<= 4"), (Need(5.3333), "5.33"), (Need(16, ">"), "> 16")])
def test_needs_for_people(need, text):
    assert need.text == text


def test_needed_nfe_for_multiples_of_five_decibels():
    frame = needed_nfe(board(VALUES), "psnr")
    one = frame[frame["model"] == "one"]
    assert sorted(one["target"].unique()) == [20, 25, 30, 35, 40, 45, 50]
    assert sorted(frame[frame["model"] == "two"]["target"].unique()) == [20, 25, 30, 35, 40]
    found = {(row.solver, row.target): (row.nfe, row.bound) for row in one.itertuples()}
    assert found["bns", 30] == (4, "")
    assert found["bns", 25] == (4, "<=")
    assert found["bns", 45] == (7, "")
    assert found["ab2", 30] == (6, "")
    assert found["ab2", 45] == (8, ">")
    assert found["euler", 20] == (about(4 + 4 * 10 / 15), "")
    assert needed_nfe(board(VALUES), "psnr", [22.0])["target"].unique().tolist() == [22.0]


def test_profile_is_that_of_hand():
    """At 4 NFE the targets are 30 dB in "one" (bns needs 4, ab2 6) and 25 dB in "two" (ab2 needs 4, bns 5).

    At 8 NFE they are 50 and 40 dB, which only bns reaches.
    """
    steps = profile(board(VALUES), "psnr")
    found = {key: list(zip(part["tau"], part["share"], strict=True)) for key, part in steps.groupby(["target", "solver"])}
    assert found == {
        (4, "bns"): [(1.0, 0.5), (1.25, 1.0)],
        (4, "ab2"): [(1.0, 0.5), (1.5, 1.0)],
        (4, "euler"): [(1.0, 0.0)],
        (8, "bns"): [(1.0, 1.0)],
        (8, "ab2"): [(1.0, 0.0)],
        (8, "euler"): [(1.0, 0.0)],
    }
    assert set(steps["fields"]) == {2}
    of_bns = steps[(steps["target"] == 4) & (steps["solver"] == "bns")]
    assert [share_at(of_bns, tau) for tau in (1.0, 1.2, 1.25, 9.0)] == [0.5, 0.5, 1.0, 1.0]


def test_solvers_count_only_in_fields_that_they_were_to_run_in():
    """A cell that failed counts as a miss, a field that was never planned does not count."""
    values = {key: cells for key, cells in VALUES.items() if key != ("two", "euler")}
    values["two", "ab2"] = {4: None, 8: None}
    steps = profile(board(values), "psnr")
    found = {
        row.solver: (row.share, row.fields) for row in steps[(steps["target"] == 4) & (steps["tau"] <= 1.5)].itertuples()
    }
    assert found == {"bns": (1.0, 2), "ab2": (0.5, 2), "euler": (0.0, 1)}


def test_a_solver_that_cannot_spend_the_least_is_bounded_by_what_it_can():
    """It has 45 dB at 8: of the 30 dB that the best has at 4, it is known to need no more than 8."""
    steps = profile(board({("one", "bns"): {4: 30.0, 8: 50.0}, ("one", "rk4"): {8: 45.0}}), "psnr")
    rk4 = steps[(steps["target"] == 4) & (steps["solver"] == "rk4")]
    assert (rk4["tau"].tolist(), rk4["share"].tolist()) == ([2.0], [1.0])


def test_solvers_that_tie_are_both_best():
    values = {("one", solver): {4: 30.0, 8: 40.0} for solver in ("euler", "ddim")}
    steps = profile(board(values), "psnr")
    assert steps[["tau", "share"]].to_numpy().tolist() == [[1.0, 1.0]] * 4


def test_one_solver_and_one_nfe():
    frame = board({("one", "euler"): {4: 22.0}})
    assert profile(frame, "psnr")[["target", "tau", "share", "fields"]].to_numpy().tolist() == [[4, 1.0, 1.0, 1]]
    assert needed_nfe(frame, "psnr")[["target", "nfe", "bound"]].to_numpy().tolist() == [[20.0, 4.0, "<="]]


def test_nothing_measured_gives_nothing():
    frame = board({("one", "euler"): {4: None}}).astype({"psnr": float})
    assert profile(frame, "psnr").empty
    assert needed_nfe(frame, "psnr").empty


def test_values_below_all_multiples_have_no_targets():
    assert needed_nfe(board({("one", "euler"): {4: 12.0, 8: 19.0}}), "psnr").empty


@pytest.mark.parametrize(
    ("measure", "units", "said"), [("psnr", "", "measures in dB"), ("loudness", "dB", "no metric 'loudness'")]
)
def test_only_decibels_are_interpolated(measure, units, said):
    for view in (needed_nfe, profile):
        with pytest.raises(UsageError, match=said):
            view(board(VALUES, units), measure)


def test_ranks_of_records(make_records):
    records = make_records(
        {("euler", 4): (20.0, 1.0), ("ab2", 4): (25.0, 1.0), ("ddim", 4): (25.05, 3.0), ("rk4", 4): None, ("bns", 4): None}
    )
    frame = ranks(leaderboard(records), "psnr")
    assert frame[["solver", "rank_low", "rank_high"]].to_numpy().tolist() == [["euler", 3, 3], ["ab2", 1, 2], ["ddim", 1, 2]]
    assert ranks(leaderboard(records), "fid").empty
