"""``bnsbench check``: whether a solver, a model or a metric keeps the contract, and what to mend."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from bnsbench.cli.completion import complete_components
from bnsbench.cli.options import AsJson, ComponentKind, PluginFiles, Programs, open_host, with_model_file
from bnsbench.cli.printing import print_json, print_table
from bnsbench.errors import UsageError

if TYPE_CHECKING:
    from bnsbench.testing import Report


def check(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="Solver, model or metric, such as 'unipc[order=3]'.", autocompletion=complete_components
        ),
    ],
    kind: Annotated[
        ComponentKind | None, typer.Option(help="What it is, where the name does not tell.", show_default=False)
    ] = None,
    on: Annotated[
        str, typer.Option(metavar="MODEL", help="Model on whose samples a metric is checked.", show_default=False)
    ] = "",
    plugin: PluginFiles = None,
    allow_program: Programs = None,
    as_json: AsJson = False,
) -> None:
    """Run all conformance checks on a solver, a model or a metric; exit code 1 if one fails.

    A hint is no fault: it says what could be better.
    """
    name, plugin = with_model_file(name, plugin)
    host = open_host(plugin, programs=allow_program)
    from bnsbench.testing.conformance import check_component, find_kind

    found = kind.value if kind else find_kind(name, host)
    if on and found != "metric":
        raise UsageError(f"--on is for metrics, and {name!r} is a {found}.")
    report = check_component(name, found, host=host, on=on)
    if as_json:
        print_json(report.to_dict())
    else:
        _print(report)
    if not report.passed:
        raise typer.Exit(1)


def _print(report: Report) -> None:
    """Print a line for every check, what to do beneath, and the counts."""
    rows = [[result.name, result.status, result.finding] for result in report.results]
    print_table(("check", "result", "finding"), rows)
    typer.echo()
    remedies = [result for result in report.results if result.remedy]
    for result in remedies:
        typer.echo(f"{result.name}: {result.remedy}")
    if remedies:
        typer.echo()
    typer.echo(report.summary())
