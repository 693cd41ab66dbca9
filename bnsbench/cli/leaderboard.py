"""``bnsbench leaderboard``: the leaderboard of a results folder, in several formats."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bnsbench.cli.options import PluginFiles, open_host
from bnsbench.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table
    from rich.text import Text

    from bnsbench.report.matrix import Entry, Sheet
    from bnsbench.report.views import View


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
    from bnsbench.cli.encoding import for_stdout
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
    """Print a table of solvers for every field, the best in bold and ties marked, in what stdout can write."""
    from rich.console import Console

    from bnsbench.cli.encoding import for_stdout
    from bnsbench.report.matrix import grids, metrics_of, unit_of
    from bnsbench.report.views import view_sheets

    names = metrics_of(frame)
    if metric is None and not names:
        typer.echo("No cell has a metric yet.")
        return
    # A pipe has no width: nothing is to be cut off there.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    chosen = metric or names[0]
    unit = unit_of(frame, chosen)
    in_unit = f"{chosen} in {unit}" if unit else chosen
    shown = {
        "gain": f"gain in {chosen}",
        "ranks": f"rank in {chosen}",
        "profile": "share of fields",
        "nfe": f"NFE for {chosen}",
    }.get(view, in_unit)

    def remark(lines: Iterable[str]) -> None:
        for line in lines:
            console.print(for_stdout(line), style="dim", markup=False, soft_wrap=True)

    for sheet in view_sheets(frame, chosen, view):
        by = f" by {sheet.of}" if sheet.of else ""
        console.print(for_stdout(f"\n{sheet.title}: {shown}{by}"), style="bold", markup=False)
        console.print(_table(sheet))
        remark(sheet.notes)
    if view == "standings":
        for sheet in grids(frame):
            console.print(for_stdout(f"\n{sheet.title}: grids of tuned solvers"), style="bold", markup=False)
            console.print(_table(sheet))
    remark(_legend(frame, chosen, view))


def _legend(frame: pd.DataFrame, metric: str, view: View) -> Iterable[str]:
    from bnsbench.report.matrix import TIE, further_measures
    from bnsbench.report.views import LEGENDS

    if view != "standings":
        return [LEGENDS[view]]
    best = "bold" if sys.stdout.isatty() else "*"
    marks = f"{best}: best of its NFE; {TIE}: cannot be told from it (95 %, paired, all pairs at once); -: does not apply"
    return [marks, further] if (further := further_measures(frame, metric)) else [marks]


def _table(sheet: Sheet) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from bnsbench.cli.encoding import for_stdout

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(sheet.head, no_wrap=True)
    for column in sheet.columns:
        table.add_column(column, justify="right", no_wrap=True)
    for line in sheet.lines:
        table.add_row(Text(for_stdout(line.solver)), *(_entry(entry) for entry in line.entries))
    return table


def _entry(entry: Entry) -> Text:
    from rich.text import Text

    from bnsbench.cli.encoding import for_stdout
    from bnsbench.report.matrix import TIE

    if entry.standing == "best":
        return Text(f"{entry.text} *" if not sys.stdout.isatty() else f"{entry.text}  ", style="bold green")
    return Text(for_stdout(f"{entry.text} {TIE}" if entry.standing == "tied" else f"{entry.text}  "))


def _render(frame: pd.DataFrame, metric: str | None, view: View, form: str, plugin: list[Path] | None) -> str:
    """Return the leaderboard in the words of a report, which is told the metric and the view if it knows of them."""
    report = open_host(plugin).report("markdown" if form == "table" else form)
    asked: dict[str, str] = {**({"metric": metric} if metric else {}), **({"view": view} if view != "standings" else {})}
    for name, value in asked.items():
        if name not in report.parameters:
            raise UsageError(f"The report {report.name!r} has no choice of a {name}, so it cannot show {value!r}.")
    text: str = replace(report, parameters={**report.parameters, **asked}).make()(frame)
    return text
