"""``bnsbench verify``: whether results are intact and can be repeated, and how much of them was looked at."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bnsbench.cli.options import AsJson, Device, PluginFiles, Programs, Quiet, open_host
from bnsbench.cli.printing import print_json
from bnsbench.errors import UsageError

if TYPE_CHECKING:
    from bnsbench.report.verify import Verification


def verify(
    results: Annotated[Path, typer.Argument(metavar="RESULTS", help="Results folder, such as results/default.")],
    cells: Annotated[str, typer.Option(help="How many cells to run again, at least one of each model; 0 or 'all'.")] = "24",
    seed: Annotated[int | None, typer.Option(help="Which cells are chosen; drawn if not given.", show_default=False)] = None,
    retrain: Annotated[bool, typer.Option("--retrain", help="Also train the solvers of these cells again.")] = False,
    seal: Annotated[
        str | None,
        typer.Option(metavar="DIGEST", help="What 'bnsbench seal' printed for these results.", show_default=False),
    ] = None,
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
    differs if anything does; with 3 if nothing differs but something could not be checked.

    Files that the results name, and plugins that lie beside them, are not read unless an option names them as well.
    """
    if cells != "all" and not (cells.isascii() and cells.isdigit() and len(cells) < 10):
        raise UsageError(f"--cells takes a whole number or 'all', not {cells!r}.")
    from bnsbench.cli.progress import show_progress
    from bnsbench.report.named_files import nothing_fetched, refuse_named_files
    from bnsbench.report.seal import digest_in
    from bnsbench.report.verify import verify as check
    from bnsbench.suite.store import find_results

    store = find_results(results)
    digest = None if seal is None else digest_in(seal)
    host = open_host(plugin, programs=allow_program, local=False)
    if cells != "0":
        refuse_named_files(store.suite_file, host, [*(allow_file or ()), *(allow_program or ())])
    with nothing_fetched(), show_progress(quiet) as listener:
        count = None if cells == "all" else int(cells)
        found = check(store, host, listener, cells=count, seed=seed, device=device, retrain=retrain, seal=digest)
    if as_json:
        print_json({"folder": str(store.folder), "agrees": not found.exit_code, **_counts(found)})
    else:
        for line in _lines(str(store.folder), found):
            typer.echo(line)
    raise typer.Exit(found.exit_code)


def _counts(found: Verification) -> dict[str, object]:
    told = {"faults": list(found.faults), "unchecked": list(found.unchecked), "notes": list(found.notes)}
    return {"records": found.records, "rerun": found.rerun, "seed": found.seed, **told, "checked": found.coverage.to_dict()}


def _lines(folder: str, found: Verification) -> list[str]:
    """Return what is told: faults, the outcome, and how far the check has reached."""
    if found.faults:
        outcome = f"{len(found.faults)} faults; {found.rerun} cells were run again (seed {found.seed})."
    else:
        outcome = (
            f"{folder}: {found.records} records are intact, and {found.rerun} cells run again agree with theirs"
            f" (seed {found.seed})."
        )
    unchecked = [f"Not checked: {sentence}" for sentence in found.unchecked]
    return [*found.faults, outcome, *_reach(found), *unchecked, *(f"Note: {sentence}" for sentence in found.notes)]


def _reach(found: Verification) -> list[str]:
    """Return sentences on how much was checked, and what would have been missed."""
    done = found.coverage
    lines = [
        f"Checked: {done.files} files by their hashes, {done.records} records and {done.solvers} solver files by themselves;"
        f" {done.chosen} of {done.cells} cells that gave a result were run again ({done.trained} of them with a trained"
        f" solver, {done.retrained} of these trained again), and {done.numbers} numbers compared."
    ]
    if done.without:
        counts = ", ".join(f"{count} {status}" for status, count in sorted(done.without.items()))
        lines.append(f"Without a result: {counts}; {done.retried} of these were run again.")
    return [*lines, *_missed(found)]


def _missed(found: Verification) -> list[str]:
    """Return one sentence on the chance that forged cells were missed."""
    chances = found.coverage.chances
    if not chances:
        return []
    if not any(chance["missed_at_most"] for chance in chances):
        return ["Every cell that gave a result was run again: none that is forged beyond the tolerances could be missed."]
    told = ", ".join(f"{_percent(chance['missed_at_most'])} for k = {chance['forged']:g}" for chance in chances)
    return [f"If k cells were forged, where they are chosen least, none of them was run again with a chance of {told}."]


def _percent(share: float) -> str:
    return "below 0.1 %" if 0 < share < 0.001 else f"{100 * share:.3g} %"
