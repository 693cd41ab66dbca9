"""``bnsbench leaderboard``: the leaderboard of a results folder, in several formats."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bnsbench.cli.options import PluginFiles, open_host

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table
    from rich.text import Text

    from bnsbench.report.matrix import Entry, Matrix


def leaderboard(
    results: Annotated[Path, typer.Argument(metavar="RESULTS", help="Results folder, such as results/default.")],
    metric: Annotated[str | None, typer.Option(help="Metric to show; the first if none is named.")] = None,
    form: Annotated[str, typer.Option("--format", help="table, markdown, csv, latex, json, or one of a plugin.")] = "table",
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="File instead of stdout.")] = None,
    plugin: PluginFiles = None,
) -> None:
    """Show the leaderboard of results, as far as they have come."""
    from bnsbench.report.results import read_leaderboard
    from bnsbench.suite.store import find_results, write_text

    store = find_results(results)
    frame = read_leaderboard(store)
    missing = len(store.planned()) - len(frame)
    if missing:
        typer.echo(f"{missing} of {len(store.planned())} cells have not been run yet.", err=True)
    print_notes(frame)
    if form == "table" and output is None:
        print_leaderboard(frame, metric)
        return
    text = _render(frame, metric, form, plugin)
    if output is None:
        typer.echo(text, nl=False)
    else:
        write_text(output, text)


def print_notes(frame: pd.DataFrame) -> None:
    """Say on stderr what a reader of the leaderboard has to know about its records."""
    for note in frame.attrs.get("notes", ()):
        typer.echo(note, err=True)


def print_leaderboard(frame: pd.DataFrame, metric: str | None = None) -> None:
    """Print a matrix of solvers by NFE for every field, the best in bold and ties marked."""
    from rich.console import Console

    from bnsbench.report.matrix import matrices, metrics_of

    names = metrics_of(frame)
    if metric is None and not names:
        typer.echo("No cell has a metric yet.")
        return
    # A pipe has no width: nothing is to be cut off there.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    chosen = metric or names[0]
    unit = frame.attrs.get("units", {}).get(chosen, "")
    for matrix in matrices(frame, chosen):
        console.print(f"\n{matrix.title}: {chosen}{f' in {unit}' if unit else ''} by NFE", style="bold", markup=False)
        console.print(_table(matrix))
    best = "bold" if sys.stdout.isatty() else "*"
    console.print(f"{best}: best of its NFE; ≈: not separable from it (95 %, paired); -: does not apply", style="dim")


def _table(matrix: Matrix) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("solver", no_wrap=True)
    for n in matrix.nfe:
        table.add_column(str(n), justify="right", no_wrap=True)
    for line in matrix.lines:
        table.add_row(Text(line.solver), *(_entry(entry) for entry in line.entries))
    return table


def _entry(entry: Entry) -> Text:
    from rich.text import Text

    if entry.standing == "best":
        return Text(f"{entry.text} *" if not sys.stdout.isatty() else f"{entry.text}  ", style="bold green")
    return Text(f"{entry.text} ≈" if entry.standing == "tied" else f"{entry.text}  ")


def _render(frame: pd.DataFrame, metric: str | None, form: str, plugin: list[Path] | None) -> str:
    from bnsbench.report import tables

    own = {
        "table": lambda: tables.markdown(frame, metric or ""),
        "markdown": lambda: tables.markdown(frame, metric or ""),
        "latex": lambda: tables.latex(frame, metric or ""),
        "csv": lambda: tables.csv(frame),
        "json": lambda: tables.to_json(frame),
    }
    if form in own:
        return own[form]()
    text: str = open_host(plugin).report(form).make()(frame)
    return text
