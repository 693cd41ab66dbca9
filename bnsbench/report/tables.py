"""A leaderboard as text: markdown, CSV, LaTeX and JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from bnsbench.plain import plain
from bnsbench.report.matrix import LEGEND, Entry, Matrix, matrices, metrics_of

Tables = Callable[[Matrix], str]


def csv(frame: pd.DataFrame) -> str:
    """Return all rows as CSV: numbers with at most six digits, the same for the same records; timings last."""
    return frame.map(_csv_number).to_csv(index=False, lineterminator="\n")


def markdown(frame: pd.DataFrame, metric: str = "") -> str:
    """Return a matrix per field as GitHub markdown, for one metric or for all."""
    return _document(frame, metric, _markdown_matrix, "# Leaderboard\n", "##")


def latex(frame: pd.DataFrame, metric: str = "") -> str:
    """Return a matrix per field as LaTeX tables (package booktabs), for one metric or for all."""
    return _document(frame, metric, _latex_matrix, "", "%")


def to_json(frame: pd.DataFrame) -> str:
    """Return all rows as a JSON list of objects, without the entries that have no value."""
    rows = [{key: plain(value) for key, value in row.items() if _given(value)} for row in frame.to_dict("records")]
    return json.dumps(rows, indent=1) + "\n"


def _document(frame: pd.DataFrame, metric: str, table: Tables, head: str, heading: str) -> str:
    parts = [head] if head else []
    for name in [metric] if metric else metrics_of(frame):
        unit = frame.attrs.get("units", {}).get(name, "")
        parts.append(f"{heading} {name}{f' [{unit}]' if unit else ''}\n")
        parts += [table(matrix) for matrix in matrices(frame, name)]
    parts.append(LEGEND if heading == "##" else f"% {LEGEND}")
    return "\n".join(parts) + "\n"


def _markdown_matrix(matrix: Matrix) -> str:
    head = ["solver", *(f"NFE {n}" for n in matrix.nfe)]
    lines = [[_escaped(line.solver), *(_markdown_entry(entry) for entry in line.entries)] for line in matrix.lines]
    rule = ["---", *("---:" for _ in matrix.nfe)]
    table = "\n".join("| " + " | ".join(row) + " |" for row in [head, rule, *lines])
    return f"### {matrix.title}\n\n{table}\n"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("[", "\\[")


def _markdown_entry(entry: Entry) -> str:
    if entry.standing == "best":
        return f"**{entry.text}**"
    return f"{entry.text} ≈" if entry.standing == "tied" else entry.text


def _latex_matrix(matrix: Matrix) -> str:
    lines = [[_latex_text(line.solver), *(_latex_entry(entry) for entry in line.entries)] for line in matrix.lines]
    body = "\n".join(" & ".join(row) + r" \\" for row in lines)
    head = " & ".join(["solver", *(str(n) for n in matrix.nfe)])
    columns = "l" + "r" * len(matrix.nfe)
    return (
        f"\\begin{{table}}\n\\caption{{{_latex_text(matrix.title)}, by NFE}}\n\\begin{{tabular}}{{{columns}}}\n\\toprule\n"
        f"{head} \\\\\n\\midrule\n{body}\n\\bottomrule\n\\end{{tabular}}\n\\end{{table}}\n"
    )


def _latex_text(text: str) -> str:
    return text.replace("_", r"\_").replace("%", r"\%").replace("#", r"\#").replace("&", r"\&")


def _latex_entry(entry: Entry) -> str:
    if entry.standing == "best":
        return rf"\textbf{{{entry.text}}}"
    return rf"{entry.text}$^\approx$" if entry.standing == "tied" else entry.text


def _csv_number(value: Any) -> Any:
    """Return floats as text; whole ones, such as counts in a column with gaps, without a fraction."""
    if not isinstance(value, float):
        return value
    if not _given(value):
        return ""
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else f"{value:.6g}"


def _given(value: Any) -> bool:
    return value is not None and not (isinstance(value, float) and pd.isna(value))


def summary(records: Sequence[str]) -> str:
    """Return statuses as counts, such as "7 ok, 1 failed"."""
    counts = dict.fromkeys(records, 0)
    for status in records:
        counts[status] += 1
    return ", ".join(f"{count} {status}" for status, count in counts.items()) or "no cells"
