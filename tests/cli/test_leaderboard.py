"""What is printed where stdout cannot write every character."""

from __future__ import annotations

import io
import sys

import pandas as pd
import pytest

from bnsbench.cli.encoding import for_stdout
from bnsbench.cli.leaderboard import groups_that_fit, print_leaderboard


@pytest.fixture
def frame():
    rows = [
        {"solver": solver, "psnr": value, "psnr_standing": standing, "kind": kind, "grid": grid}
        for solver, value, standing, kind, grid in (
            ("euler", 20.0, "tied", "classic", ""),
            ("ab2", 20.1, "best", "tuned", "Kumaraswamy 1.25, 1.6"),
            ("größer-∇", 12.0, "", "classic", ""),
        )
    ]
    frame = pd.DataFrame(rows).assign(model="ring8", guidance=0.0, seed=0, nfe=4, status="ok")
    frame.attrs.update(metrics=["psnr"], measures=["psnr"], units={"psnr": "dB"}, directions={"psnr": "higher"})
    return frame


@pytest.fixture
def printed(monkeypatch):
    """Return what a function prints on a stream of that encoding."""

    def run(encoding, function, *arguments):
        raw = io.BytesIO()
        stream = io.TextIOWrapper(raw, encoding=encoding)
        monkeypatch.setattr(sys, "stdout", stream)
        function(*arguments)
        stream.flush()
        return raw.getvalue().decode(encoding)

    return run


@pytest.mark.parametrize(
    ("encoding", "mark", "name"),
    [("utf-8", "≈", "größer-∇"), ("cp1252", "~", "größer-?"), ("latin-1", "~", "größer-?"), ("ascii", "~", "gr??er-?")],
)
def test_ties_and_names_are_printed_in_every_encoding(printed, frame, encoding, mark, name):
    text = printed(encoding, print_leaderboard, frame)
    lines = text.splitlines()
    assert any("euler" in line and f"20.00 {mark}" in line for line in lines)
    assert any("ab2" in line and "20.10 *" in line for line in lines)
    assert any(name in line for line in lines)
    assert f"{mark}: cannot be told from it" in text


@pytest.mark.parametrize("columns", [120, 80, 40, 30])
def test_a_narrow_terminal_cuts_no_number(frame, monkeypatch, capsys, columns):
    wide = pd.concat([frame.assign(nfe=n, psnr=frame["psnr"] + 1000 * n) for n in (4, 6, 8, 10, 12, 16)])
    wide.attrs.update(frame.attrs)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("COLUMNS", str(columns))
    print_leaderboard(wide)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= columns
    assert "…" not in "".join(lines)
    assert {f"{value:.2f}" for value in wide["psnr"]} <= {word for line in lines for word in line.split()}


def test_columns_follow_in_groups_that_fit():
    assert groups_that_fit([10, 7, 7, 7], 80) == (10, [[0, 1, 2]])
    assert groups_that_fit([10, 7, 7, 7], 42) == (10, [[0, 1, 2]])
    assert groups_that_fit([10, 7, 7, 7], 41) == (10, [[0, 1], [2]])
    assert groups_that_fit([30, 7, 7], 40) == (13, [[0, 1]])
    assert groups_that_fit([30, 50, 7], 20) == (12, [[0], [1]])


def test_the_first_line_is_a_title(printed, frame):
    assert printed("utf-8", print_leaderboard, frame).startswith("ring8, w = 0: psnr in dB by NFE\n")


def test_grids_of_tuned_solvers_are_printed_below(printed, frame):
    text = printed("utf-8", print_leaderboard, frame)
    below = text.split("ring8, w = 0: grids of tuned solvers")[1]
    assert "ab2" in below
    assert "Kumaraswamy 1.25, 1.6" in below


def test_text_that_can_be_written_stays(printed):
    assert printed("cp1252", lambda: sys.stdout.write(for_stdout("größer ~ 5"))) == "größer ~ 5"
    assert printed("ascii", lambda: sys.stdout.write(for_stdout("a ≈ b"))) == "a ~ b"
