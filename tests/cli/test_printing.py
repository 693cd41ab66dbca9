"""Tables for terminals of every width, and for pipes."""

from __future__ import annotations

import sys

import pytest
from rich.cells import cell_len

from bnsbench.cli.printing import fitted, plain_lines, print_table, shown_width

COLUMNS = ("name", "order", "error", "summary")
ROWS = [
    ["dpm-solver-1", "2", "-1.2345e-17", "Multistep DPM-Solver++(3M) with k-diffusion's second step and many more words."],
    ["世界", "12", "123456789.5", "x [bold] y"],
]


@pytest.fixture
def printed(monkeypatch, capsys):
    """Return what a table is on a terminal of so many columns, None for a pipe."""

    def run(columns, rows=ROWS):
        monkeypatch.setenv("TERM", "dumb")
        if columns is not None:
            monkeypatch.setattr("sys.stdout.isatty", lambda: True)
            monkeypatch.setenv("COLUMNS", str(columns))
        print_table(COLUMNS, rows)
        return capsys.readouterr().out.splitlines()

    return run


@pytest.mark.parametrize("columns", [200, 80, 60, 40, 30, 20])
def test_a_terminal_of_any_width_gets_every_word_and_number_whole(printed, columns):
    lines = printed(columns)
    assert max(map(cell_len, lines)) <= columns
    words = {word for line in lines for word in line.split()}
    assert {word for row in ROWS for cell in row for word in cell.split()} <= words
    assert "…" not in "".join(lines)
    assert lines == [line.rstrip() for line in lines]


def test_a_pipe_gets_one_line_a_row_however_long(printed):
    assert printed(None) == [
        "name          order  error        summary",
        f"dpm-solver-1  2      -1.2345e-17  {ROWS[0][3]}",
        "世界          12     123456789.5  x [bold] y",
    ]


def test_control_characters_break_no_row(printed):
    assert printed(None, [["a\nb", "1", "\x1b[31m", "c\td"]])[1:] == ["a b   1      \\x1b[31m  c d"]
    assert len(printed(80, [["a\nb", "1", "\x1b[31m", "c\td"]])) == 3


def test_wide_characters_take_two_columns():
    assert [shown_width(text) for text in ("abc", "世界", "é", "")] == [3, 4, 1, 0]
    assert plain_lines(["a", "b"], [["世", "x"], ["yy", "z"]]) == ["a   b", "世  x", "yy  z"]


def test_the_widest_column_gives_way_first_and_no_word_is_cut():
    lines = [["aa", "one two three four five six", "b"], ["a", "x", "bb"]]
    assert fitted(lines, 100) == [2, 27, 2]
    assert fitted(lines, 30) == [2, 22, 2]
    assert fitted(lines, 28) == [2, 20, 2]
    assert fitted(lines, 27) is None
    assert fitted([["a" * 30, "b"]], 20) is None


def test_an_empty_table_is_its_head(printed):
    assert printed(None, []) == ["name  order  error  summary"]


def test_a_stream_that_lacks_characters_gets_others_for_them(monkeypatch):
    import io

    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    print_table(("a", "b"), [["x ≈ y", "größer"]])
    sys.stdout.flush()
    assert raw.getvalue().decode("ascii").splitlines()[1] == "x ~ y  gr??er"
