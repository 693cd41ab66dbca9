"""A field's leaderboard as a matrix: solvers by NFE, best solvers first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bnsbench.errors import UsageError
from bnsbench.report.leaderboard import FIELD

LEGEND = (
    "Rows are sorted by their mean distance to the best solver, over the NFE that they can spend. The best of a column is in"
    " bold; ≈ marks those that the paired 95 % interval over the same noise does not separate from it. '-' is a cell that"
    " does not apply."
)


@dataclass(frozen=True)
class Entry:
    """A cell of the matrix: its text and its standing ("best", "tied" or "")."""

    text: str
    standing: str = ""


@dataclass(frozen=True)
class Line:
    """A solver's entries by NFE, with its mean distance to the best (None if it has no value)."""

    solver: str
    entries: tuple[Entry, ...]
    gap: float | None


@dataclass(frozen=True)
class Matrix:
    """The leaderboard of one model under one guidance scale and seed."""

    title: str
    nfe: tuple[int, ...]
    lines: tuple[Line, ...]


def metrics_of(frame: pd.DataFrame) -> list[str]:
    """Return the metrics that a leaderboard has, the one that leads it first."""
    return list(frame.attrs.get("metrics", [name[:-9] for name in frame.columns if name.endswith("_standing")]))


def matrices(frame: pd.DataFrame, metric: str) -> Iterator[Matrix]:
    """Yield a matrix of the metric for every field; UsageError for a metric that the leaderboard does not have."""
    if metric not in metrics_of(frame):
        raise UsageError(f"These results have no metric {metric!r}; they have {', '.join(metrics_of(frame)) or 'none'}.")
    seeds = frame["seed"].nunique() > 1
    for (model, guidance, seed), rows in frame.groupby(list(FIELD), sort=False):
        title = f"{model}, w = {guidance:g}" + (f", seed {seed}" if seeds else "")
        yield _matrix(title, rows, metric)


def _matrix(title: str, rows: pd.DataFrame, metric: str) -> Matrix:
    nfe = tuple(sorted(int(n) for n in rows["nfe"].unique()))
    gaps = _gaps(rows, metric)
    lines = [_line(str(solver), part, nfe, metric, gaps) for solver, part in rows.groupby("solver", sort=False)]
    return Matrix(title, nfe, tuple(sorted(lines, key=lambda line: (line.gap is None, line.gap or 0.0))))


def _gaps(rows: pd.DataFrame, metric: str) -> pd.Series[float]:
    """Return the distance of every row to the best of its NFE."""
    best = rows[rows[f"{metric}_standing"] == "best"].groupby("nfe")[metric].first()
    return (rows[metric].astype(float) - rows["nfe"].map(best).astype(float)).abs()


def _line(solver: str, part: pd.DataFrame, nfe: tuple[int, ...], metric: str, gaps: pd.Series[float]) -> Line:
    found = {int(row["nfe"]): _entry(row, metric) for _, row in part.iterrows()}
    gap = gaps[part.index].mean()
    return Line(solver, tuple(found.get(n, Entry("")) for n in nfe), None if pd.isna(gap) else float(gap))


def _entry(row: pd.Series[Any], metric: str) -> Entry:
    if row["status"] == "skipped":
        return Entry("-")
    if pd.isna(row[metric]):
        return Entry("-" if row["status"] == "ok" else str(row["status"]))
    return Entry(readable(float(row[metric])), str(row[f"{metric}_standing"]))


def readable(value: float) -> str:
    """Return a metric's value for people: two decimals, or three digits if it is small."""
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.3g}"
