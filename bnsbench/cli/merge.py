"""``bnsbench merge``: the results of several machines in one folder."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from bnsbench.cli.options import AsJson, PluginFiles, Quiet, open_host


def merge(
    folders: Annotated[
        list[Path], typer.Argument(metavar="RESULTS...", help="Results folders, such as those of several machines.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder in which the suite's folder lies.")],
    suite: Annotated[
        str | None,
        typer.Option(
            help="Suite by name, or a TOML file, whose cells are merged; the smallest with all of them if not given."
        ),
    ] = None,
    keep_first: Annotated[
        bool, typer.Option("--keep-first", help="Where folders contradict each other, take what the first one says.")
    ] = False,
    plugin: PluginFiles = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Join results folders in DIR/SUITE as if one process had run them all, and write the leaderboard.

    A cell with a result stands before one that failed; links and damaged files are left out and named. Folders that
    contradict each other beyond the tolerances of `bnsbench verify` are refused before anything is written, with two files
    named. What is in DIR/SUITE already takes part first. The exit code is 1 while cells are missing or have failed.
    """
    from bnsbench.cli.printing import note, print_json, shown_path
    from bnsbench.cli.progress import show_progress
    from bnsbench.report.merge import merge as merge_results
    from bnsbench.suite.suitefile import find_suite, folder_beside

    host = open_host(plugin, None if suite is None else folder_beside(suite), local=suite is not None)
    wanted = None if suite is None else find_suite(suite, host)
    with show_progress(quiet or as_json) as listener:
        done = merge_results(folders, output, host, listener, suite=wanted, keep_first=keep_first)
    rest = f"bnsbench run {shlex.quote(str(done.folder / 'suite.toml'))} --results {shlex.quote(str(output))}"
    if as_json:
        counts = {"cells": done.cells, "missing": done.missing, "failed": done.failed, "environments": done.environments}
        print_json({"results": str(done.folder), **counts, "rest": rest if done.exit_code else None})
    else:
        for remark in done.notes:
            note(remark)
        typer.echo(f"{shown_path(done.folder)}: {done.cells - done.missing} of {done.cells} cells; {done.failed} failed.")
        if done.exit_code:
            typer.echo(f"{done.missing} cells are missing; this runs them, and those that failed: {rest}")
    if done.exit_code:
        raise typer.Exit(done.exit_code)
