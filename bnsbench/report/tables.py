"""A leaderboard as text: Markdown, CSV, LaTeX and JSON.

pandas and json write CSV and JSON. Rows of Markdown and LaTeX are joined here: table libraries leave a pipe in a Markdown
cell, break a cell with a line break into two rows, and know no marks beside escaped text; see `bnsbench.report.escaping`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bnsbench.report.escaping import csv_cell, latex_text, markdown_cell, markdown_line, one_line
from bnsbench.report.matrix import (
    LEGEND,
    TIE,
    Entry,
    Sheet,
    measures_of,
    metrics_of,
    tuned_grids,
    unit_of,
    without_attrs,
)
from bnsbench.report.views import LEGENDS, View, view_frame, view_sheets
from bnsbench.storage.plain_data import as_plain_data


@dataclass(frozen=True)
class Target:
    """A format of documents: functions that write a table and escape a text, and forms of heading, remark and title."""

    sheet: Callable[[Sheet], str]
    escaped: Callable[[str], str]
    heading: str
    remark: str
    title: str = ""


def csv(frame: pd.DataFrame, metric: str = "", view: View = "standings") -> str:
    """Return the rows of a view as CSV: numbers with at most six digits, the same for the same records; timings last.

    Args:
        frame: A leaderboard.
        metric: The metric of a view other than the standings; the first one if "".
        view: Which numbers: "standings" has all of them; see `VIEWS`.
    """
    rows = without_attrs(_numbers(frame, metric, view))
    texts = {csv_cell(str(name)): _csv_column(rows[name].tolist()) for name in rows}
    return pd.DataFrame(texts).to_csv(index=False, lineterminator="\n")


def markdown(frame: pd.DataFrame, metric: str = "", view: View = "standings") -> str:
    """Return a table per field as GitHub markdown, for one metric or for all of them and the further measures of PSNR.

    Args:
        frame: A leaderboard.
        metric: A measure of it; all if "".
        view: What the tables show; see `VIEWS`.
    """
    return _document(frame, metric, view, Target(_markdown_sheet, markdown_line, "## {}\n", "{}", "# Leaderboard\n"))


def latex(frame: pd.DataFrame, metric: str = "", view: View = "standings") -> str:
    """Return a table per field as LaTeX (package booktabs), for one metric or for all and the further measures of PSNR.

    Args:
        frame: A leaderboard.
        metric: A measure of it; all if "".
        view: What the tables show; see `VIEWS`.
    """
    return _document(frame, metric, view, Target(_latex_sheet, one_line, "% {}\n", "% {}"))


def to_json(frame: pd.DataFrame, metric: str = "", view: View = "standings") -> str:
    """Return the rows of a view as a JSON list of objects, without the entries that have no value.

    Args:
        frame: A leaderboard.
        metric: The metric of a view other than the standings; the first one if "".
        view: Which numbers: "standings" has all of them; see `VIEWS`.
    """
    records = _numbers(frame, metric, view).to_dict("records")
    rows = [{key: as_plain_data(value) for key, value in row.items() if _given(value)} for row in records]
    return json.dumps(rows, indent=1) + "\n"


def _numbers(frame: pd.DataFrame, metric: str, view: View) -> pd.DataFrame:
    names = metrics_of(frame)
    return frame if view == "standings" or not names else view_frame(frame, metric or names[0], view)


def _document(frame: pd.DataFrame, metric: str, view: View, target: Target) -> str:
    parts = [target.title] if target.title else []
    for name in [metric] if metric else measures_of(frame):
        unit = unit_of(frame, name)
        parts.append(target.heading.format(target.escaped(f"{name} [{unit}]" if unit else name)))
        parts += map(target.sheet, view_sheets(frame, name, view))
    if view == "standings" and (tuned := list(map(target.sheet, tuned_grids(frame)))):
        parts += [target.heading.format("grids of tuned solvers"), *tuned]
    parts.append(target.remark.format(LEGENDS.get(view, LEGEND)))
    return "\n".join(parts) + "\n"


def _markdown_sheet(sheet: Sheet) -> str:
    head = [markdown_cell(sheet.head), *(markdown_cell(f"{sheet.of} {column}".strip()) for column in sheet.columns)]
    lines = [[markdown_cell(line.solver), *map(_markdown_entry, line.entries)] for line in sheet.lines]
    rule = ["---", *("---:" for _ in sheet.columns)]
    table = "\n".join("| " + " | ".join(row) + " |" for row in [head, rule, *lines])
    return "\n\n".join([f"### {markdown_line(sheet.title)}", table, *map(markdown_line, sheet.notes)]) + "\n"


def _markdown_entry(entry: Entry) -> str:
    text = markdown_cell(entry.text)
    if entry.standing == "best":
        return f"**{text}**"
    return f"{text} {TIE}" if entry.standing == "tied" else text


def _latex_sheet(sheet: Sheet) -> str:
    head = " & ".join(map(latex_text, [sheet.head, *sheet.columns]))
    lines = [[latex_text(line.solver), *map(_latex_entry, line.entries)] for line in sheet.lines]
    body = "".join(" & ".join(row) + " \\\\\n" for row in lines)
    columns = "l" + "r" * len(sheet.columns)
    caption = latex_text(f"{sheet.title}, by {sheet.of}" if sheet.of else sheet.title)
    notes = "".join(f"% {one_line(note)}\n" for note in sheet.notes)
    return (
        f"\\begin{{table}}\n\\caption{{{caption}}}\n\\begin{{tabular}}{{{columns}}}\n\\toprule\n"
        f"{head} \\\\\n\\midrule\n{body}\\bottomrule\n\\end{{tabular}}\n\\end{{table}}\n{notes}"
    )


def _latex_entry(entry: Entry) -> str:
    text = latex_text(entry.text)
    if entry.standing == "best":
        return rf"\textbf{{{text}}}"
    return rf"{text}$^\approx$" if entry.standing == "tied" else text


def _csv_column(values: Sequence[Any]) -> list[Any]:
    """Return `_csv_value` of every value; texts, of which there are few, are escaped once each."""
    escaped = {text: csv_cell(text) for text in {value for value in values if isinstance(value, str)}}
    return [escaped[value] if isinstance(value, str) else _csv_value(value) for value in values]


def _csv_value(value: Any) -> Any:
    """Return a float as text, without a fraction if it is whole, as counts in a column with gaps are; other text escaped."""
    if not isinstance(value, float):
        return csv_cell(value) if isinstance(value, str) else value
    return number_text(value) if _given(value) else ""


def number_text(value: float) -> str:
    """Return a finite number as CSV has it: with at most six digits, without a fraction if it is whole."""
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else f"{value:.6g}"


def _given(value: Any) -> bool:
    return value is not None and not (isinstance(value, float) and pd.isna(value))
