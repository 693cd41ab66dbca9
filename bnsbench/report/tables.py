"""A leaderboard as text: markdown, CSV, LaTeX and JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pandas as pd

from bnsbench.report.matrix import LEGEND, TIE, Entry, Sheet, grids, measures_of, metrics_of, unit_of
from bnsbench.report.views import LEGENDS, View, view_frame, view_sheets
from bnsbench.storage.plain_data import plain

SheetWriter = Callable[[Sheet], str]


def csv(frame: pd.DataFrame, metric: str = "", view: View = "standings") -> str:
    """Return the rows of a view as CSV: numbers with at most six digits, the same for the same records; timings last.

    metric: of views other than the standings, the first one if none is named.
    """
    return _numbers(frame, metric, view).map(_csv_number).to_csv(index=False, lineterminator="\n")


def markdown(frame: pd.DataFrame, metric: str = "", view: View = "standings") -> str:
    """Return a table per field as GitHub markdown, for one metric or for all of them and the further measures of PSNR."""
    return _document(frame, metric, view, _markdown_sheet, ("# Leaderboard\n",), "## {}\n", "{}")


def latex(frame: pd.DataFrame, metric: str = "", view: View = "standings") -> str:
    """Return a table per field as LaTeX (package booktabs), for one metric or for all and the further measures of PSNR."""
    return _document(frame, metric, view, _latex_sheet, (), "% {}\n", "% {}")


def to_json(frame: pd.DataFrame, metric: str = "", view: View = "standings") -> str:
    """Return the rows of a view as a JSON list of objects, without the entries that have no value; metric as for `csv`."""
    records = _numbers(frame, metric, view).to_dict("records")
    rows = [{key: plain(value) for key, value in row.items() if _given(value)} for row in records]
    return json.dumps(rows, indent=1) + "\n"


def _numbers(frame: pd.DataFrame, metric: str, view: View) -> pd.DataFrame:
    names = metrics_of(frame)
    return frame if view == "standings" or not names else view_frame(frame, metric or names[0], view)


def _document(
    frame: pd.DataFrame, metric: str, view: View, write: SheetWriter, head: tuple[str, ...], heading: str, remark: str
) -> str:
    parts = list(head)
    for name in [metric] if metric else measures_of(frame):
        unit = unit_of(frame, name)
        parts.append(heading.format(f"{name} [{unit}]" if unit else name))
        parts += [write(sheet) for sheet in view_sheets(frame, name, view)]
    if view == "standings":
        tuned = [write(sheet) for sheet in grids(frame)]
        parts += [heading.format("grids of tuned solvers"), *tuned] if tuned else []
    parts.append(remark.format(LEGENDS.get(view, LEGEND)))
    return "\n".join(parts) + "\n"


def _markdown_sheet(sheet: Sheet) -> str:
    head = [sheet.head, *(f"{sheet.of} {column}".strip() for column in sheet.columns)]
    lines = [[_escaped(line.solver), *(_markdown_entry(entry) for entry in line.entries)] for line in sheet.lines]
    rule = ["---", *("---:" for _ in sheet.columns)]
    table = "\n".join("| " + " | ".join(row) + " |" for row in [head, rule, *lines])
    return "\n\n".join([f"### {sheet.title}", table, *sheet.notes]) + "\n"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("[", "\\[")


def _markdown_entry(entry: Entry) -> str:
    if entry.standing == "best":
        return f"**{entry.text}**"
    return f"{_escaped(entry.text)} {TIE}" if entry.standing == "tied" else _escaped(entry.text)


def _latex_sheet(sheet: Sheet) -> str:
    lines = [[_latex_text(line.solver), *(_latex_entry(entry) for entry in line.entries)] for line in sheet.lines]
    body = "\n".join(" & ".join(row) + r" \\" for row in lines)
    head = " & ".join([sheet.head, *map(_latex_text, sheet.columns)])
    columns = "l" + "r" * len(sheet.columns)
    caption = _latex_text(sheet.title) + (f", by {sheet.of}" if sheet.of else "")
    notes = "".join(f"% {note}\n" for note in sheet.notes)
    return (
        f"\\begin{{table}}\n\\caption{{{caption}}}\n\\begin{{tabular}}{{{columns}}}\n\\toprule\n"
        f"{head} \\\\\n\\midrule\n{body}\n\\bottomrule\n\\end{{tabular}}\n\\end{{table}}\n{notes}"
    )


def _latex_text(text: str) -> str:
    return text.replace("_", r"\_").replace("%", r"\%").replace("#", r"\#").replace("&", r"\&")


def _latex_entry(entry: Entry) -> str:
    text = _latex_text(entry.text)
    if entry.standing == "best":
        return rf"\textbf{{{text}}}"
    return rf"{text}$^\approx$" if entry.standing == "tied" else text


def _csv_number(value: Any) -> Any:
    """Return floats as text; whole ones, such as counts in a column with gaps, without a fraction."""
    if not isinstance(value, float):
        return value
    if not _given(value):
        return ""
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else f"{value:.6g}"


def _given(value: Any) -> bool:
    return value is not None and not (isinstance(value, float) and pd.isna(value))
