"""``bnsbench tune``: the best classic solver on its best time grid, saved as a file, in seconds to minutes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bnsbench.cli.options import Device, DType, PluginFiles, Quiet, Seed, open_host
from bnsbench.cli.placings import print_placings
from bnsbench.errors import UsageError
from bnsbench.process.cpu import keep_freed_memory

if TYPE_CHECKING:
    from bnsbench.contract import PluginHost, Selection
    from bnsbench.contract.specs import SolverSpec
    from bnsbench.nonstationary.artefact import SolverArtefact


def tune(
    model: Annotated[str, typer.Argument(help="Model to tune for, such as digits-ot or digits-gmm[path=vp].")],
    nfe: Annotated[int, typer.Option(min=1, help="Evaluations that the solver may spend.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="SOLVER.json", help="File for the table.")],
    *,
    guidance: Annotated[str, typer.Option(metavar="W[,W,...]", help="Guidance scale, or all that one solver serves.")] = "0",
    solver: Annotated[
        str, typer.Option(help="'tuned' for the best of all rules, or one rule, such as ab3 or dpm++2m.")
    ] = "tuned",
    tolerance: Annotated[float, typer.Option(help="Of the ground truth; a coarser one is cheaper.")] = 1e-6,
    seed: Seed = 0,
    device: Device = "auto",
    dtype: DType = None,
    plugin: PluginFiles = None,
    quiet: Quiet = False,
) -> None:
    """Find the classic solver and time grid that suit a model, save the table, and show where the classics stand."""
    from bnsbench.cli.components import check_budget
    from bnsbench.cli.options import numbers
    from bnsbench.cli.progress import show_progress
    from bnsbench.cli.training import Session, combined, placings_of, sources_of

    keep_freed_memory()
    host = open_host(plugin)
    selection, chosen, scales = _tuned(host, solver), host.model(model), numbers("--guidance", guidance)
    check_budget(selection, nfe)
    if output.is_dir():
        raise UsageError(f"{str(output)!r} is a folder: --output names the file for the solver.")
    if not 0 < tolerance < 1:
        raise UsageError(f"--tolerance must lie between 0 and 1, not {tolerance:g}.")
    with show_progress(quiet) as progress:
        sources = sources_of(chosen, scales, seed, tolerance, device, dtype, progress)
        session = Session(host, selection, combined(sources, []), progress)
        artefact = session.trained(nfe)
        artefact.save(output)
        progress.stage("comparing the classic solvers on test noise")
        placings = placings_of(session, sources, artefact)
        session.forget()
    _print(artefact, output)
    print_placings(placings, scales)


def _tuned(host: PluginHost, solver: str) -> Selection[SolverSpec]:
    """Return the tuned solver that the text means, or the best grid of the classic that it means."""
    from dataclasses import replace

    from bnsbench.contract.selectors import BEST_GRID, tuned

    selection = host.solver(solver)
    if selection.spec.kind == "traced" and "grid" in selection.parameters:
        return tuned(replace(selection, parameters={**selection.parameters, "grid": BEST_GRID}))
    if selection.spec.kind != "tuned":
        raise UsageError(f"The solver {selection.name!r} has no time grid to tune; choose 'tuned' or a classic with a grid.")
    return selection


def _print(artefact: SolverArtefact, output: Path) -> None:
    from bnsbench.truth.mixed_source import guidance_in_words

    record = artefact.training
    words = f"{artefact.model} at guidance {guidance_in_words(artefact.guidance)} and {artefact.solver.nfe} NFE"
    typer.echo(f"{record['rule']} on the grid {record['grid']} for {words}: {output}")
    forwards, seconds = sum(record["forwards"].values()), record["seconds"]
    typer.echo(f"{record['candidates']} rules and grids tried with {forwards:,} network forwards in {seconds:.1f} seconds")
