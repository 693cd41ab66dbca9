from __future__ import annotations

import html
import io
import json
import re

import pandas as pd
import pytest
from markdown_it import MarkdownIt

from bnsbench.errors import UsageError
from bnsbench.report.escaping import latex_text, one_line
from bnsbench.report.leaderboard import leaderboard
from bnsbench.report.matrix import matrices, readable
from bnsbench.report.tables import csv, latex, markdown, to_json

VALUES = {
    **{("euler", n): (10.0 + n, 1.0) for n in (3, 4)},
    **{("ab2", n): (20.0 + n, 1.0) for n in (3, 4)},
    ("rk4", 3): None,
    ("rk4", 4): (24.01, 4.0),
    ("bns", 3): None,
    ("bns", 4): (30.0, 1.0),
}


@pytest.fixture
def records(make_records):
    return make_records(VALUES)


@pytest.fixture
def frame(records):
    return leaderboard(records)


def test_matrix_ranks_solvers_by_their_distance_to_the_best(frame):
    (matrix,) = matrices(frame, "psnr")
    assert matrix.title == "ring8, w = 0"
    assert matrix.nfe == (3, 4)
    assert [line.solver for line in matrix.lines] == ["bns", "ab2", "rk4", "euler"]
    assert [line.gap for line in matrix.lines] == pytest.approx([0.0, 3.0, 5.99, 13.0])
    texts = {line.solver: [(entry.text, entry.standing) for entry in line.entries] for line in matrix.lines}
    assert texts["bns"] == [("failed", ""), ("30.00", "best")]
    assert texts["rk4"] == [("-", ""), ("24.01", "")]
    assert texts["ab2"] == [("23.00", "best"), ("24.00", "")]


def test_unknown_metric_names_the_known_ones(frame):
    with pytest.raises(UsageError, match="psnr, psnr_mse, psnr_p05, fid"):
        list(matrices(frame, "snr"))


@pytest.mark.parametrize(("value", "text"), [(45.126, "45.13"), (1.0, "1.00"), (0.01234, "0.0123"), (-0.5, "-0.5")])
def test_numbers_for_people(value, text):
    assert readable(value) == text


def test_csv_reads_back(frame):
    again = pd.read_csv(io.StringIO(csv(frame)))
    assert list(again.columns) == list(frame.columns)
    assert again["psnr"].tolist() == pytest.approx(frame["psnr"].tolist(), rel=1e-5, nan_ok=True)
    assert again["nfe"].tolist() == frame["nfe"].tolist()


def test_csv_is_the_same_for_the_same_records(records):
    assert csv(leaderboard(records)) == csv(leaderboard(list(records)))
    assert "1000.0" not in csv(leaderboard(records))


def test_csv_of_hostile_text_stays_one_row(make_records):
    from dataclasses import replace

    (record,) = make_records({("euler", 4): None})
    frame = leaderboard([replace(record, reason='a "quoted", reason\nwith a line')])
    assert pd.read_csv(io.StringIO(csv(frame)))["reason"].tolist() == ['a "quoted", reason\nwith a line']


def test_markdown_marks_the_best_and_ties(make_records):
    text = markdown(leaderboard(make_records({("euler", 4): (20.0, 1.0), ("ab2", 4): (20.01, 4.0)})))
    assert "| ab2 | **20.01** |" in text
    assert "| euler | 20.00 ≈ |" in text
    assert "## psnr [dB]" in text
    assert "## fid\n" in text


def test_markdown_escapes_selectors(make_records):
    text = markdown(leaderboard(make_records({("unipc[order=3]", 4): (20.0, 1.0)})), "psnr")
    assert "| unipc\\[order=3] |" in text


def test_latex_has_a_line_per_solver(frame):
    text = latex(frame, "psnr")
    assert r"\textbf{30.00}" in text
    assert text.count(r"\\") == 5
    assert text.count(r"\begin{tabular}{lrr}") == text.count(r"\end{tabular}") == 1


def test_json_leaves_out_what_has_no_value(frame):
    rows = json.loads(to_json(frame))
    assert len(rows) == len(frame)
    failed = next(row for row in rows if row["solver"] == "bns" and row["nfe"] == 3)
    assert "psnr" not in failed
    assert failed["status"] == "failed"


HOSTILE = "a|b_*c*<d>&%$#{}~^\\[e](f)`g`\n\x1b[31m"


@pytest.fixture
def hostile(make_records):
    from dataclasses import replace

    (record,) = make_records({("euler", 4): (20.0, 1.0)})
    named = {part: {**record.cell[part], "name": HOSTILE} for part in ("solver", "model")}
    return leaderboard([replace(record, cell={**record.cell, **named})])


def test_markdown_shows_any_name(hostile):
    rendered = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(markdown(hostile, "psnr"))
    assert html.unescape(re.findall("<td[^>]*>(.*?)</td>", rendered)[0]) == one_line(HOSTILE).strip()
    assert html.unescape(re.findall("<h3>(.*?)</h3>", rendered)[0]) == f"{one_line(HOSTILE)}, w = 0"
    assert rendered.count("<tr>") == 2


def test_latex_takes_any_name_for_text(hostile):
    text = latex(hostile, "psnr")
    assert text.count(latex_text(HOSTILE)) == 2
    assert len([line for line in text.splitlines() if line.endswith(r" \\")]) == 2


def test_names_are_the_same_in_csv_and_json(hostile):
    assert pd.read_csv(io.StringIO(csv(hostile)))["solver"].tolist() == [HOSTILE]
    assert json.loads(to_json(hostile))[0]["model"] == HOSTILE
