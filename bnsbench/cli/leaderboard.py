"""``bnsbench leaderboard``: the leaderboard of a results folder, in several formats."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bnsbench.cli.encoding import for_stdout
from bnsbench.cli.options import PluginFiles, open_host
from bnsbench.cli.printing import print_rich, shown_width, styled, terminal_width
from bnsbench.errors import UsageError
from bnsbench.report.escaping import one_line

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

    from bnsbench.report.matrix import Entry, Sheet
    from bnsbench.report.views import View

EDGE, BETWEEN = 2, 3
"""Columns at the sides of a table, and between two of its columns."""

LEAST_NAME = 12
"""Columns below which no name is folded, however narrow the terminal is."""


def leaderboard(
    results: Annotated[Path, typer.Argument(metavar="RESULTS", help="Results folder, such as results/default.")],
    metric: Annotated[
        str | None, typer.Option(help="Metric to show, also psnr_mse or psnr_p05; the first if none is named.")
    ] = None,
    view: Annotated[
        str, typer.Option(help="standings, gain (over the best tuned classic), ranks (with ties), profile, nfe (needed).")
    ] = "standings",
    form: Annotated[str, typer.Option("--format", help="table, markdown, csv, latex, json, or one of a plugin.")] = "table",
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="File instead of stdout.")] = None,
    plugin: PluginFiles = None,
) -> None:
    """Show the leaderboard of results, as far as they have come."""
    from bnsbench.report.results import read_leaderboard
    from bnsbench.report.views import known_view
    from bnsbench.suite.store import find_results, write_text

    store = find_results(results)
    chosen = known_view(view)
    frame = read_leaderboard(store)
    missing = len(store.planned()) - len(frame)
    if missing:
        typer.echo(f"{missing} of {len(store.planned())} cells have not been run yet.", err=True)
    print_notes(frame)
    if form == "table" and output is None:
        print_leaderboard(frame, metric, chosen)
        return
    text = _render(frame, metric, chosen, form, plugin)
    if output is None:
        typer.echo(for_stdout(text), nl=False)
    else:
        write_text(output, text)


def print_notes(frame: pd.DataFrame) -> None:
    """Say on stderr what a reader of the leaderboard has to know about its records."""
    for note in frame.attrs.get("notes", ()):
        typer.echo(note, err=True)


def print_leaderboard(frame: pd.DataFrame, metric: str | None = None, view: View = "standings") -> None:
    """Print a table of solvers for every field, the best in bold and ties marked, in what stdout can write.

    On a terminal that is too narrow for all columns they follow in parts, each with the solvers again.
    """
    from bnsbench.report.matrix import metrics_of, tuned_grids
    from bnsbench.report.views import view_sheets

    names = metrics_of(frame)
    if metric is None and not names:
        typer.echo("No cell has a metric yet.")
        return
    chosen = metric or names[0]
    shown = _subject(frame, chosen, view)
    titled = [(f"{shown} by {sheet.of}" if sheet.of else shown, sheet) for sheet in view_sheets(frame, chosen, view)]
    if view == "standings":
        titled += [("grids of tuned solvers", sheet) for sheet in tuned_grids(frame)]
    parts: list[RenderableType] = []
    for index, (title, sheet) in enumerate(titled):
        parts += [styled("")] if index else []
        parts += _drawn(f"{sheet.title}: {title}", sheet)
    print_rich(*parts, *map(_remark, _legend(frame, chosen, view)))


def _subject(frame: pd.DataFrame, measure: str, view: View) -> str:
    """Return what the numbers of a view are, such as "psnr in dB"."""
    from bnsbench.report.matrix import unit_of

    unit = unit_of(frame, measure)
    return {
        "standings": f"{measure} in {unit}" if unit else measure,
        "gain": f"gain in {measure}",
        "ranks": f"rank in {measure}",
        "profile": "share of fields",
        "nfe": f"NFE for {measure}",
    }[view]


def _legend(frame: pd.DataFrame, metric: str, view: View) -> Iterable[str]:
    from bnsbench.report.matrix import TIE, further_measures
    from bnsbench.report.views import LEGENDS

    if view != "standings":
        return [LEGENDS[view]]
    best = "bold" if _shows_bold() else "*"
    marks = f"{best}: best of its NFE; {TIE}: cannot be told from it (95 %, paired, all pairs at once); -: does not apply"
    return [marks, further] if (further := further_measures(frame, metric)) else [marks]


def _drawn(title: str, sheet: Sheet) -> Iterator[RenderableType]:
    """Yield a sheet's title, its tables as the width allows, and its notes."""
    yield styled(title, "bold")
    widths = _widths(sheet)
    names, groups = groups_that_fit(widths, terminal_width())
    for group in groups:
        yield _table(sheet, names, group)
    yield from map(_remark, sheet.notes)


def _widths(sheet: Sheet) -> list[int]:
    """Return the columns that the names of a sheet's lines take, and each of its columns of entries with their marks."""
    names = [sheet.head, *(line.solver for line in sheet.lines)]
    entries = [[column, *(f"{line.entries[k].text}  " for line in sheet.lines)] for k, column in enumerate(sheet.columns)]
    return [max(shown_width(one_line(text)) for text in texts) for texts in (names, *entries)]


def groups_that_fit(widths: Sequence[int], width: int) -> tuple[int, list[list[int]]]:
    """Return how wide names may be, and the columns of entries in groups of which each fits beside them.

    widths: of the names, and of the columns of entries with their marks. Names keep theirs if all fits; otherwise they
    fold, at a third of the whole width at least, for no entry is ever cut.
    """
    names, *columns = widths
    if names + sum(columns) + BETWEEN * len(columns) + EDGE <= width:
        return names, [list(range(len(columns)))]
    names = min(names, max(width // 3, LEAST_NAME))
    groups: list[list[int]] = []
    left = 0
    for k, column in enumerate(columns):
        if not groups or column + BETWEEN > left:
            groups.append([])
            left = width - names - EDGE
        groups[-1].append(k)
        left -= column + BETWEEN
    return names, groups


def _table(sheet: Sheet, names: int, columns: Sequence[int]) -> Table:
    """Return the table of these columns of a sheet, in which names may be that wide."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(styled(sheet.head), overflow="fold", max_width=names)
    for k in columns:
        table.add_column(styled(sheet.columns[k]), justify="right", no_wrap=True)
    for line in sheet.lines:
        table.add_row(styled(line.solver), *(_entry(line.entries[k]) for k in columns))
    return table


def _entry(entry: Entry) -> Text:
    from bnsbench.report.matrix import TIE

    text = entry.text
    if entry.standing == "best":
        return styled(f"{text}  " if _shows_bold() else f"{text} *", "bold green")
    return styled(f"{text} {TIE}" if entry.standing == "tied" else f"{text}  ")


def _shows_bold() -> bool:
    return sys.stdout.isatty() and os.environ.get("TERM", "") not in ("dumb", "unknown")


def _remark(line: str) -> Text:
    return styled(line, "dim")


def _render(frame: pd.DataFrame, metric: str | None, view: View, form: str, plugin: list[Path] | None) -> str:
    """Return the leaderboard in the words of a report, which is told the metric and the view if it knows of them."""
    report = open_host(plugin, local=False).report("markdown" if form == "table" else form)
    asked: dict[str, str] = {**({"metric": metric} if metric else {}), **({"view": view} if view != "standings" else {})}
    for name, value in asked.items():
        if name not in report.parameters:
            raise UsageError(f"The report {report.name!r} has no choice of a {name}, so it cannot show {value!r}.")
    text: str = replace(report, parameters={**report.parameters, **asked}).make()(frame)
    return text
