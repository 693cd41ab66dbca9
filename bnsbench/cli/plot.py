"""``bnsbench plot``: figures of results for papers."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from bnsbench.cli.printing import busy, shown_path
from bnsbench.errors import UsageError


class FigureKind(StrEnum):
    """The kinds of figures."""

    curves = "curves"
    profile = "profile"
    cost = "cost"
    table = "table"
    gallery = "gallery"


def plot(
    results: Annotated[Path, typer.Argument(metavar="RESULTS", help="Results folder, such as results/default.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Figure, ending in .pdf, .svg or .png.")],
    kind: Annotated[
        FigureKind, typer.Option(help="A metric over NFE, profiles over scenarios, over training's cost, a table, samples.")
    ] = FigureKind.curves,
    metric: Annotated[str | None, typer.Option(help="Metric to draw, also psnr_mse or psnr_p05; the first if none.")] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            help='Model, or one with its guidance as in "digits-ot, w = 2"; may be repeated; all if none is named.'
        ),
    ] = None,
    solver: Annotated[
        list[str] | None,
        typer.Option(help="Solver that is named in the figure; may be repeated; the best if none is named."),
    ] = None,
    nfe: Annotated[int | None, typer.Option(help="NFE of a figure of costs.", show_default=False)] = None,
    width: Annotated[float, typer.Option(help="Of the figure, in inches.", min=1.0, max=60.0)] = 5.5,
    previews: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Previews of a run of the same cells, for published results.")
    ] = None,
) -> None:
    """Draw a figure of results for a paper: a few named solvers, the others grey, fonts embedded.

    Colours are such that all eyes tell them apart, and names stand at their lines. Panels are scenarios: two beside each
    other, or below each other in a figure narrower than 4 inches.
    """
    from bnsbench.report.page.sources import read_sources, scenarios
    from bnsbench.report.paper import KINDS, Choice, chosen, draw_paper_figure
    from bnsbench.suite.store import find_results

    store = find_results(results)
    if nfe is not None and nfe < 1:
        raise UsageError(f"--nfe takes a whole number from 1 on, not {nfe}.")
    with busy("drawing"):
        found = chosen(list(scenarios(read_sources([store], previews))), model or ())
        known = next(each for each in KINDS if each == kind.value)
        draw_paper_figure(found, known, Choice(metric or "", tuple(solver or ()), nfe, width), output)
    typer.echo(shown_path(output.resolve()))
