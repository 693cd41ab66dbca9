"""A field's leaderboard as a matrix: solvers by NFE, best solvers first."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bnsbench.errors import UsageError
from bnsbench.report.judging import STANDING
from bnsbench.report.leaderboard import FIELD
from bnsbench.report.measures import OF_PSNR, PSNR
from bnsbench.report.standings import better

TIE = "≈"

LEGEND = (
    "Rows are sorted by their mean distance to the best solver, over the NFE that they can spend. The best of a column is in"
    f" bold; {TIE} marks those that the noise cannot tell from it: paired over the same samples, all pairs of the column at"
    " once (Holm, 95 %), since the best is chosen after looking. '-' is a cell that does not apply."
)
UNMARKED = "Nothing is marked: these records hold nothing that solvers could be compared by, sample by sample."


@dataclass(frozen=True)
class Entry:
    """A cell of the matrix: its text and its standing ("best", "tied" or "")."""

    text: str
    standing: str = ""


@dataclass(frozen=True)
class Line:
    """A solver's entries by column, with its mean distance to the best (None if it has no value)."""

    solver: str
    entries: tuple[Entry, ...]
    gap: float | None = None


@dataclass(frozen=True)
class Sheet:
    """A table with notes below it.

    of: the quantity whose values head the columns, such as "NFE"; "" if the columns are different things.
    head: the heading of the first column.
    """

    title: str
    columns: tuple[str, ...]
    lines: tuple[Line, ...]
    notes: tuple[str, ...] = ()
    of: str = ""
    head: str = "solver"


@dataclass(frozen=True)
class Matrix:
    """The leaderboard of one model under one guidance scale and seed, with notes on what its marks mean."""

    title: str
    nfe: tuple[int, ...]
    lines: tuple[Line, ...]
    notes: tuple[str, ...] = ()

    @property
    def sheet(self) -> Sheet:
        """The matrix as a table."""
        return Sheet(self.title, tuple(map(str, self.nfe)), self.lines, self.notes, "NFE")


def metrics_of(frame: pd.DataFrame) -> list[str]:
    """Return the metrics of a leaderboard, PSNR first."""
    return list(frame.attrs.get("metrics", [name for name in measures_of(frame) if name not in OF_PSNR]))


def measures_of(frame: pd.DataFrame) -> list[str]:
    """Return the measures by which a leaderboard can rank solvers: its metrics, and further measures of the PSNRs."""
    columns = [name.removesuffix(STANDING) for name in frame.columns if name.endswith(STANDING)]
    return list(frame.attrs.get("measures", columns))


def unit_of(frame: pd.DataFrame, measure: str) -> str:
    """Return the unit of a measure, "" if it has none."""
    return str(frame.attrs.get("units", {}).get(measure, ""))


def direction_in(frame: pd.DataFrame, measure: str) -> str:
    """Return which values of a measure are better, "higher" or "lower"."""
    return str(frame.attrs.get("directions", {}).get(measure, "higher"))


def known_measure(frame: pd.DataFrame, measure: str) -> str:
    """Return the measure; UsageError for one that the leaderboard does not have."""
    if measure not in measures_of(frame):
        known = ", ".join(measures_of(frame)) or "none"
        raise UsageError(f"These results have no metric {measure!r}; they have {known}.")
    return measure


def field_title(field: Sequence[Any], seeds: bool) -> str:
    """Return the title of a model, guidance scale and seed; ``seeds`` says whether the seed is part of it."""
    model, guidance, seed = field
    return f"{model}, w = {guidance:g}" + (f", seed {seed}" if seeds else "")


def fields(frame: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield the title and the rows of every model, guidance scale and seed."""
    seeds = frame["seed"].nunique() > 1
    for field, rows in without_attrs(frame).groupby(list(FIELD), sort=False):
        yield field_title(field, seeds), rows


def without_attrs(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame without its attrs, of which pandas would make a copy at every step."""
    bare = frame.copy(deep=False)
    bare.attrs = {}
    return bare


def matrices(frame: pd.DataFrame, metric: str) -> Iterator[Matrix]:
    """Yield a matrix of the measure for every field; UsageError for one that the leaderboard does not have."""
    direction = direction_in(frame, known_measure(frame, metric))
    for title, rows in fields(frame):
        yield _matrix(title, rows, metric, direction)


def further_measures(frame: pd.DataFrame, measure: str) -> str:
    """Return a sentence on the measures that stand beside the mean of PSNRs; "" for another one or where there is none."""
    if measure != PSNR or not set(OF_PSNR) & set(measures_of(frame)):
        return ""
    return (
        "psnr: mean over samples; --metric psnr_mse: dB of the mean squared error; --metric psnr_p05: what 5 % do not reach"
    )


def tuned_grids(frame: pd.DataFrame) -> Iterator[Sheet]:
    """Yield for every field the grids of its tuned solvers by NFE, where there are any."""
    if "grid" not in frame.columns:
        return
    for title, rows in fields(frame):
        tuned = rows[rows["grid"].fillna("").astype(str) != ""].sort_values(["solver", "nfe"], kind="stable")
        lines = [Line(str(row["solver"]), (Entry(str(row["nfe"])), Entry(_grid(row)))) for _, row in tuned.iterrows()]
        if lines:
            yield Sheet(title, ("NFE", "grid"), tuple(lines))


def _grid(row: pd.Series[Any]) -> str:
    """Return a tuned solver's grid in words, with its rule where the solver's name does not say it."""
    rule, grid = str(row.get("rule") or ""), str(row["grid"])
    named = str(row["solver"]).startswith(rule.partition("[")[0])
    return grid if named else f"{rule} on {grid}"


def _matrix(title: str, rows: pd.DataFrame, metric: str, direction: str) -> Matrix:
    nfe = tuple(sorted(int(n) for n in rows["nfe"].unique()))
    truth = _truth_that_is_beaten(rows, metric, direction)
    lines = [_line(solver, part, nfe, metric) for solver, part in _by_solver(rows, metric, direction, truth).items()]
    notes = _notes(rows, metric, truth)
    return Matrix(title, nfe, tuple(sorted(lines, key=lambda line: (line.gap is None, line.gap or 0.0))), notes)


def _truth_that_is_beaten(rows: pd.DataFrame, metric: str, direction: str) -> float | None:
    """Return the ground truth's own value if a solver's is better; None otherwise."""
    if f"{metric}_truth" not in rows.columns:
        return None
    known = rows[rows[metric].notna() & rows[f"{metric}_truth"].notna()]
    pairs = zip(known[metric].astype(float), known[f"{metric}_truth"].astype(float), strict=True)
    return next((truth for value, truth in pairs if better(value, truth, direction)), None)


def _gaps(rows: pd.DataFrame, metric: str, direction: str, truth: float | None) -> pd.Series[float]:
    """Return the distance of every row to the best of its NFE, or to the ground truth where that is not the best."""
    values = rows[metric].astype(float)
    if truth is not None:
        return (values - truth).abs()
    best = values.groupby(rows["nfe"]).agg("max" if direction == "higher" else "min")
    return (values - rows["nfe"].map(best).astype(float)).abs()


def _notes(rows: pd.DataFrame, metric: str, truth: float | None) -> tuple[str, ...]:
    if truth is not None:
        to_truth = f"{metric.partition('[')[0]}-gt"
        ranking = to_truth if to_truth in rows.columns else PSNR
        return (
            f"Nothing is marked: the ground truth itself has {readable(truth)} here, and a solver that is better than the"
            f" exact solution is not more accurate. Rows are sorted by their distance to it; {ranking} ranks solvers.",
        )
    competing = rows[rows[metric].notna()].groupby("nfe").size().max()
    marked = rows[f"{metric}{STANDING}"].isin(["best", "tied"]).any()
    return (UNMARKED,) if competing > 1 and not marked else ()


def _by_solver(rows: pd.DataFrame, metric: str, direction: str, truth: float | None) -> dict[str, list[dict[Hashable, Any]]]:
    """Return what a matrix shows of every solver's rows, with their distances "gap" to the best."""
    found: dict[str, list[dict[Hashable, Any]]] = {}
    needed = rows[["solver", "nfe", "status", metric, f"{metric}{STANDING}"]]
    for row in needed.assign(gap=_gaps(rows, metric, direction, truth)).to_dict("records"):
        found.setdefault(str(row["solver"]), []).append(row)
    return found


def _line(solver: str, rows: Sequence[Mapping[Hashable, Any]], nfe: tuple[int, ...], metric: str) -> Line:
    found = {int(row["nfe"]): _entry(row, metric) for row in rows}
    gaps = [float(row["gap"]) for row in rows if not pd.isna(row["gap"])]
    return Line(solver, tuple(found.get(n, Entry("")) for n in nfe), sum(gaps) / len(gaps) if gaps else None)


def _entry(row: Mapping[Hashable, Any], metric: str) -> Entry:
    if row["status"] == "skipped":
        return Entry("-")
    if pd.isna(row[metric]):
        return Entry("-" if row["status"] == "ok" else str(row["status"]))
    return Entry(readable(float(row[metric])), str(row[f"{metric}{STANDING}"]))


def readable(value: float) -> str:
    """Return a metric's value for people: two decimals, or three digits if it is small."""
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.3g}"
