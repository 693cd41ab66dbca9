"""``bnsbench report``: results as one HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bnsbench.cli.printing import busy, shown_path


def report(
    results: Annotated[list[Path], typer.Argument(metavar="RESULTS...", help="Results folders, such as results/default.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE.html", help="The page; else report.html in the (first) folder's place."
        ),
    ] = None,
    previews: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Previews of a run of the same cells, for published results, which have none."),
    ] = None,
    verification: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="What 'bnsbench verify RESULTS --json' has printed; may be repeated."),
    ] = None,
) -> None:
    """Make one HTML page of results: what won, leaderboards, figures, samples, learned tables, and where they come from.

    The page is one file that opens by a double click, offline: it asks nothing from anywhere, and every number is computed
    before. Several folders become one page, each with what is known of its origin.
    """
    from bnsbench.report.page.build import build_page
    from bnsbench.suite.store import find_results, write_text

    stores = [find_results(folder) for folder in results]
    file = output or stores[0].folder.with_name(f"{stores[0].folder.resolve().name}.html")
    with busy("making the page"):
        page = build_page(stores, previews=previews, verifications=verification or ())
    write_text(file, page)
    typer.echo(shown_path(file.resolve()))
