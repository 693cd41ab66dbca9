"""Who is best, who cannot be told from it, and where nothing can be said."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bnsbench.report.leaderboard import leaderboard
from bnsbench.report.matrix import matrices
from bnsbench.report.standings import Standing, standings
from bnsbench.suite.record import Score

VALUES = {("euler", 4): (20.0, 1.0), ("ab2", 4): (25.0, 1.0), ("ddim", 4): (25.05, 3.0), ("rk4", 4): (15.0, 1.0)}


@pytest.fixture
def records(make_records):
    return make_records(VALUES)


def with_fid(record, value, truth=None, spread=0.001, replicates=100, direction="lower"):
    own = np.random.default_rng(sum(record.key.encode())).normal(0, spread, replicates)
    score = Score("1", direction, value=value, details={} if truth is None else {"truth": truth})
    found = {"fid": tuple(value + own)} if replicates else {}
    return replace(record, metrics={"fid": score}, per_sample={}, replicates=found)


def words(records, measure):
    return [standing.word for standing in standings(records, measure)]


def test_best_tied_and_the_rest_with_their_ranks(records):
    assert standings(records, "psnr") == [
        Standing("", 3, 3),
        Standing("tied", 1, 2),
        Standing("best", 1, 2),
        Standing("", 4, 4),
    ]


def test_rows_of_other_fields_seeds_and_nfe_do_not_compete(make_records):
    records = [*make_records(VALUES), *make_records(VALUES, seed=1), *make_records({("euler", 8): (90.0, 1.0)})]
    assert words(records, "psnr") == ["", "tied", "best", ""] * 2 + ["best"]
    assert standings(records, "psnr")[-1] == Standing("best", 1, 1)


def test_a_best_that_was_looked_for_must_be_better_by_more(make_records):
    """Two solvers 2.6 standard errors apart are told apart as a pair, and not among twenty."""
    records = make_records({("euler", 4): (20.0, 1.0), ("ab2", 4): (20.0, 1.0)})
    half = np.random.default_rng(0).standard_normal(100)
    noise = np.concatenate([half, -half])
    step = 2.6 * noise.std(ddof=1) / np.sqrt(200)

    def moved(record, values):
        return replace(
            record, per_sample={"psnr": tuple(values)}, metrics={"psnr": Score("1", value=float(np.mean(values)))}
        )

    first, second = moved(records[0], np.zeros(200)), moved(records[1], noise + step)
    assert words([first, second], "psnr") == ["", "best"]
    others = []
    for k in range(18):
        rng = np.random.default_rng(k + 1)
        half = rng.standard_normal(100)
        cell = {**first.cell, "solver": {**first.cell["solver"], "name": f"other{k}"}}
        others.append(replace(moved(first, np.concatenate([half, -half])), cell=cell))
    assert words([first, second, *others], "psnr") == ["tied", "best", *["tied"] * 18]


def test_equal_values_are_all_best(records):
    same = [replace(record, per_sample=records[1].per_sample, metrics=records[1].metrics) for record in records[:2]]
    assert words([*same, records[3]], "psnr") == ["best", "best", ""]


def test_without_samples_and_replicates_nobody_is_best(records):
    bare = [with_fid(record, value, replicates=0) for record, value in zip(records, (1.0, 2.0, 3.0, 4.0), strict=True)]
    assert standings(bare, "fid") == [Standing()] * 4
    assert words(bare[:1], "fid") == ["best"]
    frame = leaderboard(bare)
    (matrix,) = matrices(frame, "fid")
    assert [line.solver for line in matrix.lines] == ["euler", "ab2", "ddim", "rk4"]
    assert "Nothing is marked" in matrix.notes[0]


def test_what_has_no_evidence_is_not_told_from_a_best_that_has(records):
    found = [with_fid(records[0], 1.0), with_fid(records[1], 2.0), with_fid(records[2], 9.0, replicates=0)]
    assert words(found, "fid") == ["best", "", "tied"]
    assert words([with_fid(records[0], 1.0, replicates=0), *found[1:2]], "fid") == ["", ""]
    assert words([found[0], with_fid(records[1], 2.0, replicates=50)], "fid") == ["best", "tied"]


def test_replicates_decide_where_there_are_some(records):
    values = (1.0, 1.0005, 1.1, 2.0)
    found = [with_fid(record, value) for record, value in zip(records, values, strict=True)]
    assert words(found, "fid") == ["best", "tied", "", ""]
    found = [with_fid(record, value, spread=0.2) for record, value in zip(records, values, strict=True)]
    assert words(found, "fid") == ["best", "tied", "tied", ""]
    higher = [with_fid(record, value, direction="higher") for record, value in zip(records, values, strict=True)]
    assert words(higher, "fid") == ["", "", "", "best"]


@pytest.mark.parametrize(
    ("direction", "values", "truth", "marked"),
    [
        ("lower", (1.0, 2.0, 3.0, 4.0), 1.5, False),
        ("lower", (1.5, 2.0, 3.0, 4.0), 1.5, True),
        ("lower", (1.0, 2.0, 3.0, 4.0), 0.5, True),
        ("lower", (1.4999999, 2.0, 3.0, 4.0), 1.5, True),
        ("higher", (1.0, 2.0, 3.0, 4.0), 3.5, False),
        ("higher", (1.0, 2.0, 3.0, 4.0), 4.0, True),
    ],
)
def test_nobody_is_best_where_the_ground_truth_is_not(records, direction, values, truth, marked):
    pairs = zip(records, values, strict=True)
    found = [with_fid(record, value, truth, direction=direction) for record, value in pairs]
    assert any(words(found, "fid")) == marked
    frame = leaderboard(found)
    assert frame["fid_truth"].tolist() == [truth] * 4
    (matrix,) = matrices(frame, "fid")
    assert len(matrix.notes) == (0 if marked else 1)


def test_one_column_in_which_the_truth_is_beaten_is_enough(make_records):
    records = make_records({(solver, n): (20.0, 1.0) for solver in ("euler", "ab2") for n in (4, 8)})
    other = make_records({("euler", 4): (20.0, 1.0), ("ab2", 4): (20.0, 1.0)}, models=("aniso5",))
    found = [with_fid(record, value, 1.86) for record, value in zip(records, (3.0, 1.7, 4.0, 2.0), strict=True)]
    found += [with_fid(record, value, 1.86) for record, value in zip(other, (3.0, 4.0), strict=True)]
    assert words(found, "fid") == ["", "", "", "", "best", ""]
    beaten, kept = matrices(leaderboard(found), "fid")
    assert "the ground truth itself has 1.86 here" in beaten.notes[0]
    # The nearest to the ground truth's own value comes first.
    assert [line.solver for line in beaten.lines] == ["euler", "ab2"]
    assert kept.notes == ()


def test_the_note_names_the_metric_that_ranks(records):
    def both(record):
        found = with_fid(record, 1.0, 1.86)
        return replace(found, metrics={**found.metrics, "fid-gt": Score("1", "lower", value=0.1)})

    (matrix,) = matrices(leaderboard([both(record) for record in records]), "fid")
    assert matrix.notes[0].endswith("fid-gt ranks solvers.")
