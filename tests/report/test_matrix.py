"""A field's leaderboard as a matrix, and what is said about it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bnsbench.errors import UsageError
from bnsbench.report.leaderboard import leaderboard
from bnsbench.report.matrix import (
    UNMARKED,
    Entry,
    direction_in,
    field_title,
    fields,
    further_measures,
    known_measure,
    matrices,
    measures_of,
    metrics_of,
    readable,
    tuned_grids,
    unit_of,
)

VALUES = {("euler", 4): (20.0, 1.0), ("ab2", 4): (25.0, 1.0), ("ab2", 8): (40.0, 1.0), ("rk4", 8): (30.0, 1.0)}


@pytest.fixture
def records(make_records):
    return make_records(VALUES)


@pytest.fixture
def frame(records):
    return leaderboard(records)


def test_what_a_leaderboard_knows_of_its_measures(frame):
    assert metrics_of(frame) == ["psnr", "fid"]
    assert measures_of(frame) == ["psnr", "psnr_mse", "psnr_p05", "fid"]
    assert (unit_of(frame, "psnr"), unit_of(frame, "fid")) == ("dB", "")
    assert (direction_in(frame, "psnr"), direction_in(frame, "fid")) == ("higher", "lower")
    assert known_measure(frame, "psnr_p05") == "psnr_p05"
    with pytest.raises(UsageError, match=r"no metric 'snr'; they have psnr, psnr_mse, psnr_p05, fid\."):
        known_measure(frame, "snr")


def test_measures_are_read_from_the_columns_of_a_frame_that_knows_nothing(frame):
    frame.attrs.clear()
    assert measures_of(frame) == ["psnr", "psnr_mse", "psnr_p05", "fid"]
    assert metrics_of(frame) == ["psnr", "fid"]
    assert (unit_of(frame, "psnr"), direction_in(frame, "fid")) == ("", "higher")


def test_a_solver_that_did_not_run_at_an_nfe_has_an_empty_entry(frame):
    (matrix,) = matrices(frame, "psnr")
    entries = {line.solver: line.entries for line in matrix.lines}
    assert entries["euler"] == (Entry("20.00"), Entry(""))
    assert entries["rk4"] == (Entry(""), Entry("30.00"))
    assert matrix.sheet.columns == ("4", "8")
    assert (matrix.sheet.of, matrix.sheet.head) == ("NFE", "solver")


def test_lower_is_better_where_the_metric_says_so(frame):
    (matrix,) = matrices(frame, "fid")
    assert [line.solver for line in matrix.lines] == ["ab2", "rk4", "euler"]
    assert matrix.notes == (UNMARKED,)


def test_fields_are_told_apart_by_seed_only_if_there_are_several(make_records, frame):
    assert [title for title, _ in fields(frame)] == ["ring8, w = 0"]
    both = leaderboard([*make_records(VALUES), *make_records(VALUES, seed=1)])
    assert [title for title, _ in fields(both)] == ["ring8, w = 0, seed 0", "ring8, w = 0, seed 1"]
    assert field_title(("m", 6.5, 3), seeds=False) == "m, w = 6.5"


def test_where_the_truth_itself_is_beaten_rows_follow_their_distance_to_it(records):
    """The truth has a FID of 4.5: a solver with 4 is further from it than one with 5 is not."""

    def with_truth(record, value):
        score = replace(record.metrics["fid"], value=value, details={"truth": 4.5})
        return replace(record, metrics={**record.metrics, "fid": score})

    at_four = [record for record in records if record.nfe == 4]
    frame = leaderboard([with_truth(at_four[0], 4.9), with_truth(at_four[1], 3.0)])
    (matrix,) = matrices(frame, "fid")
    gaps: list[Any] = [("euler", pytest.approx(0.4)), ("ab2", pytest.approx(1.5))]
    assert [(line.solver, line.gap) for line in matrix.lines] == gaps
    assert {entry.standing for line in matrix.lines for entry in line.entries} == {""}
    assert matrix.notes[0].startswith("Nothing is marked: the ground truth itself has 4.50 here")
    assert matrix.notes[0].endswith("psnr ranks solvers.")


def test_further_measures_are_told_beside_psnr_alone(frame):
    assert "--metric psnr_mse" in further_measures(frame, "psnr")
    assert further_measures(frame, "fid") == ""
    frame.attrs["measures"] = ["psnr", "fid"]
    assert further_measures(frame, "psnr") == ""


def test_grids_name_the_rule_where_the_solver_does_not(records):
    solved = {"euler": {"rule": "euler", "grid": "uniform"}, "ab2": {"rule": "unipc[order=3]", "grid": "Karras 7"}}
    tuned = [replace(r, solver=solved[r.cell["solver"]["name"]]) for r in records if r.nfe == 4]
    (sheet,) = tuned_grids(leaderboard(tuned))
    assert [(line.solver, line.entries[1].text) for line in sheet.lines] == [
        ("ab2", "unipc[order=3] on Karras 7"),
        ("euler", "uniform"),
    ]
    assert list(tuned_grids(leaderboard(records))) == []


@pytest.mark.parametrize(
    ("value", "text"), [(12.345, "12.35"), (-3.0, "-3.00"), (0.5, "0.5"), (0.00012345, "0.000123"), (0.0, "0")]
)
def test_numbers_for_people(value, text):
    assert readable(value) == text
