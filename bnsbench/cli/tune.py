"""``bnsbench tune``: the best classic solver on its best time grid, saved as a file, in seconds to minutes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bnsbench.cli.learning import ForModel, require_file, setting, setting_as_json
from bnsbench.cli.options import (
    AsJson,
    Device,
    DType,
    GuidanceScales,
    PluginFiles,
    Quiet,
    Seed,
    Tolerance,
    numbers,
    open_host,
    with_model_file,
)
from bnsbench.cli.placings import placings_as_json, print_placings
from bnsbench.cli.printing import print_json
from bnsbench.process.cpu import keep_freed_memory
from bnsbench.process.float32 import use_full_float32

if TYPE_CHECKING:
    from bnsbench.nonstationary.artefact import SolverArtefact


def tune(
    model: ForModel,
    nfe: Annotated[int, typer.Option(min=1, help="Evaluations that the solver may spend.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="SOLVER.json", help="File for the table.")],
    *,
    guidance: GuidanceScales = "0",
    solver: Annotated[
        str, typer.Option(help="'tuned' for the best of all rules, or one rule, such as ab3 or dpm++2m.")
    ] = "tuned",
    tolerance: Tolerance = 1e-6,
    seed: Seed = 0,
    device: Device = "auto",
    dtype: DType = None,
    plugin: PluginFiles = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Find the classic solver and time grid that suit a model, save the table, and show where the classics stand."""
    from bnsbench.api.named import check_budget, named_model
    from bnsbench.api.placings import placings_of
    from bnsbench.api.training import Trainings, combine, sources_of, tunable
    from bnsbench.cli.progress import show_progress

    keep_freed_memory()
    use_full_float32()
    model, plugin = with_model_file(model, plugin)
    host = open_host(plugin)
    selection, scales = tunable(host, solver), numbers("--guidance", guidance)
    check_budget(selection, nfe)
    require_file(output)
    with show_progress(quiet) as progress:
        named = named_model(host, model, device, dtype)
        sources = sources_of(named, scales, seed=seed, tolerance=tolerance, listener=progress)
        trainings = Trainings(host, selection, combine(sources), progress)
        artefact = trainings.solver(nfe)
        artefact.save(output)
        progress.stage("comparing the classic solvers on test noise")
        placings = placings_of(trainings, sources, artefact)
        trainings.forget()
    if as_json:
        print_json({"file": str(output), **_described(artefact), "placings": placings_as_json(placings, scales)})
        return
    _print(artefact, output)
    print_placings(placings, scales)


def _described(artefact: SolverArtefact) -> dict[str, object]:
    record = artefact.training
    found = {key: record[key] for key in ("rule", "grid", "selector", "candidates", "forwards", "seconds")}
    return {**setting_as_json(artefact), **found}


def _print(artefact: SolverArtefact, output: Path) -> None:
    record = artefact.training
    typer.echo(f"{record['rule']} on the grid {record['grid']} for {setting(artefact)}: {output}")
    forwards, seconds = sum(record["forwards"].values()), record["seconds"]
    typer.echo(f"{record['candidates']} rules and grids tried with {forwards:,} network forwards in {seconds:.1f} seconds")
