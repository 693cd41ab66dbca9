"""``bnsbench verify``: whether results are intact and can be repeated."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bnsbench.cli.options import AsJson, Device, PluginFiles, Programs, Quiet, open_host
from bnsbench.cli.printing import print_json
from bnsbench.errors import UsageError


def verify(
    results: Annotated[Path, typer.Argument(metavar="RESULTS", help="Results folder, such as results/default.")],
    cells: Annotated[str, typer.Option(help="How many cells to run again, at least one of each model; 0 or 'all'.")] = "24",
    seed: Annotated[int | None, typer.Option(help="Which cells are chosen; drawn if not given.", show_default=False)] = None,
    device: Device = "auto",
    plugin: PluginFiles = None,
    allow_file: Annotated[
        list[Path] | None,
        typer.Option(
            "--allow-file",
            metavar="PATH",
            help="Read this file or folder, which the results name; may be repeated.",
            show_default=False,
        ),
    ] = None,
    allow_program: Programs = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Check every file of a results folder, then run some of its cells again with the committed solvers and compare.

    PSNR may differ by 0.05 dB for float64 models and by 0.1 dB for others, any other metric by 1 % (plus 0.005), and the
    numbers beside a value by three times that. Cells without a result are run again as well. Exits with 1 and says what
    differs if anything does.

    Files that the results name, and plugins that lie beside them, are not read unless an option names them as well.
    """
    if cells != "all" and not (cells.isascii() and cells.isdigit() and len(cells) < 10):
        raise UsageError(f"--cells takes a whole number or 'all', not {cells!r}.")
    from bnsbench.cli.progress import show_progress
    from bnsbench.report.named_files import refuse_named_files
    from bnsbench.report.verify import verify as check
    from bnsbench.suite.store import find_results

    store = find_results(results)
    host = open_host(plugin, programs=allow_program, local=False)
    if cells != "0":
        refuse_named_files(store.suite_file, host, [*(allow_file or ()), *(allow_program or ())])
    with show_progress(quiet) as listener:
        count = None if cells == "all" else int(cells)
        found = check(store, host, listener, cells=count, seed=seed, device=device)
    if as_json:
        counts = {"records": found.records, "rerun": found.rerun, "seed": found.seed}
        print_json({"folder": str(store.folder), "agrees": not found.exit_code, **counts, "faults": list(found.faults)})
        raise typer.Exit(found.exit_code)
    for fault in found.faults:
        typer.echo(fault)
    if found.exit_code:
        typer.echo(f"{len(found.faults)} faults; {found.rerun} cells were run again (seed {found.seed}).")
        raise typer.Exit(found.exit_code)
    typer.echo(
        f"{store.folder}: {found.records} records are intact, and {found.rerun} cells run again agree with theirs"
        f" (seed {found.seed})."
    )
