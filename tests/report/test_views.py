from __future__ import annotations

import json
from dataclasses import replace

import pytest

from bnsbench.report.leaderboard import leaderboard
from bnsbench.report.matrix import tuned_grids
from bnsbench.report.tables import csv, latex, markdown, to_json
from bnsbench.report.views import VIEWS, view_frame, view_sheets

VALUES = {
    **{("euler", n): (10.0 + 2.5 * n, 1.0) for n in (4, 8)},
    **{("ab2", n): (20.0 + 2.5 * n, 1.0) for n in (4, 8)},
    **{("bns", n): (20.05 + 2.5 * n, 4.0) for n in (4, 8)},
    ("rk4", 4): (31.0, 1.0),
    ("rk4", 8): None,
}


@pytest.fixture
def records(make_records):
    return make_records(VALUES)


@pytest.fixture
def frame(records):
    return leaderboard(records)


def texts(sheet):
    return {line.solver: [entry.text for entry in line.entries] for line in sheet.lines}


def test_standings_are_the_matrix(frame):
    (sheet,) = view_sheets(frame, "psnr", "standings")
    assert (sheet.columns, sheet.of) == (("4", "8"), "NFE")
    assert texts(sheet)["rk4"] == ["31.00", "failed"]


def test_ranks_share_what_the_noise_leaves_open(frame):
    (sheet,) = view_sheets(frame, "psnr", "ranks")
    assert texts(sheet) == {"rk4": ["1", ""], "ab2": ["2-3", "1-2"], "bns": ["2-3", "1-2"], "euler": ["4", "3"]}
    assert next(iter(texts(sheet))) == "rk4"


def test_needed_nfe_by_decibels(frame):
    (sheet,) = view_sheets(frame, "psnr", "nfe")
    assert sheet.columns == ("20 dB", "25 dB", "30 dB", "35 dB", "40 dB")
    assert texts(sheet) == {
        "bns": ["<= 4", "<= 4", "<= 4", "5.98", "7.98"],
        "ab2": ["<= 4", "<= 4", "4", "6", "8"],
        "rk4": ["<= 4", "<= 4", "<= 4", "> 4", "> 4"],
        "euler": ["4", "6", "8", "> 8", "> 8"],
    }
    assert list(texts(sheet)) == ["bns", "ab2", "rk4", "euler"]


def test_profiles_have_a_table_for_each_target(frame):
    first, second = view_sheets(frame, "psnr", "profile")
    assert (first.title, second.title) == ("the best solver's PSNR at 4 NFE", "the best solver's PSNR at 8 NFE")
    assert texts(first)["rk4 (1)"] == ["100 %"] * 7
    assert texts(first)["ab2 (1)"] == ["0 %", "100 %", *["100 %"] * 5]
    assert texts(first)["euler (1)"] == ["0 %"] * 7
    assert texts(second)["rk4 (1)"] == ["0 %"] * 7


@pytest.mark.parametrize("view", [view for view in VIEWS if view != "gain"])
def test_every_view_in_every_format(frame, view):
    for text in (markdown(frame, "psnr", view), latex(frame, "psnr", view), csv(view_frame(frame, "psnr", view))):
        assert "euler" in text
    assert {row["solver"] for row in json.loads(to_json(view_frame(frame, "psnr", view)))} == {"euler", "ab2", "bns", "rk4"}
    body = latex(frame, "psnr", view).split(r"\midrule")[1].split(r"\bottomrule")[0]
    assert "%" not in body.replace(r"\%", "")


def test_gains_of_learned_solvers_by_nfe(frame):
    """At 4 NFE RK4, the best classic, is 0.95 dB ahead; at 8 NFE, AB2 is 0.05 dB behind, which the noise cannot tell."""
    four, eight = view_sheets(frame, "psnr", "gain")
    assert (four.title, eight.title, four.head) == ("4 NFE", "8 NFE", "field")
    assert four.columns == ("gain", "95 %", "best classic", "which", "over untuned")
    (of_four,), (of_eight,) = texts(four).values(), texts(eight).values()
    assert (of_four[0], *of_four[2:]) == ("-0.95", "31.00", "rk4", "-0.95")
    assert (of_eight[0], *of_eight[2:]) == ("+0.05", "40.00", "ab2", "+0.05")
    low, high = (float(end) for end in of_eight[1].split(" to "))
    assert low < 0.05 < high
    assert list(texts(four)) == ["ring8, w = 0: bns"]


def test_gains_in_every_format(frame):
    rows = json.loads(to_json(view_frame(frame, "psnr", "gain")))
    assert [(row["solver"], row["nfe"], row["over"]) for row in rows] == [("bns", 4, "rk4"), ("bns", 8, "ab2")]
    assert [row["over_value"] for row in rows] == pytest.approx([31.0, 40.0])
    assert "bns,8,40.05,0.05" in csv(view_frame(frame, "psnr", "gain"))
    assert "| field | gain | 95 % | best classic | which | over untuned |" in markdown(frame, "psnr", "gain")
    assert r"field & gain & 95 \%" in latex(frame, "psnr", "gain")


def test_a_tuned_classic_is_named_with_its_rule_and_grid(records):
    """The solver "tuned" says which rule it has chosen; the gain over the untuned stands beside."""

    def tuned(record):
        named = {"kind": "tuned", "rule": "ab3", "grid": "Kumaraswamy 1.2, 1.6"}
        return replace(record, solver=named) if record.cell["solver"]["name"] == "ab2" else record

    frame = leaderboard([tuned(record) for record in records])
    frame["solver"] = frame["solver"].replace("ab2", "tuned")
    frame["psnr_gain_over"] = frame["psnr_gain_over"].replace("ab2", "tuned")
    (row,) = [row for _, row in view_frame(frame, "psnr", "gain").iterrows() if row["nfe"] == 8]
    assert (row["over_rule"], row["over_grid"]) == ("ab3", "Kumaraswamy 1.2, 1.6")
    assert row["gain_untuned"] == pytest.approx(10.05)
    (_, sheet) = view_sheets(frame, "psnr", "gain")
    assert texts(sheet)["ring8, w = 0: bns"][3] == "tuned (ab3)"


def test_nothing_measured_is_an_empty_view(make_records):
    frame = leaderboard(make_records({("euler", 4): None, ("ab2", 4): (25.0, 1.0)}))
    frame = frame[frame["solver"] == "euler"]
    for view in ("gain", "ranks", "profile", "nfe"):
        assert list(view_sheets(frame, "psnr", view)) == []


def test_grids_of_tuned_solvers_follow_the_tables(records):
    def tuned(record):
        grid = f"Kumaraswamy {record.cell['nfe']}, 1.6"
        return replace(record, solver={"kind": "tuned", "grid": grid}) if record.cell["solver"]["name"] == "ab2" else record

    frame = leaderboard([tuned(record) for record in records])
    (sheet,) = tuned_grids(frame)
    assert [(line.solver, *(entry.text for entry in line.entries)) for line in sheet.lines] == [
        ("ab2", "4", "Kumaraswamy 4, 1.6"),
        ("ab2", "8", "Kumaraswamy 8, 1.6"),
    ]
    text = markdown(frame, "psnr")
    assert "| solver | NFE | grid |" in text
    assert "| ab2 | 8 | Kumaraswamy 8, 1.6 |" in text
    assert text.count("Kumaraswamy 8") == 1
    assert "Kumaraswamy 8, 1.6" in latex(frame)
    assert "grid" not in markdown(leaderboard(records))


def test_markdown_has_the_further_measures_of_psnr(frame):
    text = markdown(frame)
    assert [line for line in text.splitlines() if line.startswith("## ")] == [
        "## psnr [dB]",
        "## psnr_mse [dB]",
        "## psnr_p05 [dB]",
        "## fid",
    ]
    assert "Nothing is marked" in text.split("## fid")[1]
    assert "Nothing is marked" not in text.split("## fid")[0]
