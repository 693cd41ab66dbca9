"""``bnsbench train``: solvers trained for one model, saved as files and shown among the classics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bnsbench._text import quoted, whole_number
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
from bnsbench.contract.specs import MOST_EVALUATIONS
from bnsbench.errors import UsageError
from bnsbench.process.cpu import keep_freed_memory
from bnsbench.process.float32 import use_full_float32

if TYPE_CHECKING:
    from bnsbench.api.effort import TrainingEstimate
    from bnsbench.api.placings import Placing
    from bnsbench.contract import Selection
    from bnsbench.contract.specs import SolverSpec
    from bnsbench.nonstationary.artefact import SolverArtefact


def train(
    model: ForModel,
    nfe: Annotated[str, typer.Option(metavar="N|N-M|N,M,...", help="Evaluations that the solvers may spend.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="SOLVER.json|DIR",
            help="File for the solver, or folder for several; needed without --estimate.",
            show_default=False,
        ),
    ] = None,
    *,
    guidance: GuidanceScales = "0",
    weights: Annotated[
        str, typer.Option(metavar="X[,X,...]", help="How much each guidance scale counts.", show_default=False)
    ] = "",
    solver: Annotated[
        str,
        typer.Option("--solver", "--parametrisation", help="Which trained solver, such as bns, gs or bns[recipe=paper]."),
    ] = "bns",
    init: Annotated[
        str | None, typer.Option(metavar="SOLVER|FILE|greedy", help="What bns starts from.", show_default=False)
    ] = None,
    objective: Annotated[
        str | None, typer.Option(help="log-mse, mse, features, trajectory, own, ...", show_default=False)
    ] = None,
    optimiser: Annotated[str | None, typer.Option(help="gauss-newton or adam.", show_default=False)] = None,
    derivative: Annotated[
        str | None, typer.Option(help="auto, or backward, or forward or difference to spare memory.", show_default=False)
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(metavar="N", help="Samples that the network gets at once; as many as fit.", show_default=False),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="FORWARDS|TIME",
            help="What each table may cost in all, such as 50k or 1.5M forwards, 90s, 20min or 2h.",
            show_default=False,
        ),
    ] = None,
    gain: Annotated[
        float | None,
        typer.Option(metavar="DB", help="Decibels that 10,000 more forwards must bring to go on.", show_default=False),
    ] = None,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Say what it would cost, in forwards and hours, and train nothing.")
    ] = False,
    tolerance: Tolerance = 1e-6,
    seed: Seed = 0,
    device: Device = "auto",
    dtype: DType = None,
    plugin: PluginFiles = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Train solvers, save them, and show where they stand among tuned classics on fresh noise."""
    from bnsbench.api.effort import effort_of, estimates
    from bnsbench.api.named import named_model
    from bnsbench.api.placings import placings_of
    from bnsbench.api.training import Trainings, combine, sources_of, trainable, with_settings
    from bnsbench.cli.launched import working_together
    from bnsbench.cli.progress import show_progress

    with working_together(device) as place:
        keep_freed_memory()
        use_full_float32()
        model, plugin = with_model_file(model, plugin)
        host = open_host(plugin)
        choices = {"init": init, "objective": objective, "optimiser": optimiser, "derivative": derivative}
        selection, budgets = with_settings(trainable(host, solver), choices), _budgets(nfe)
        scales, counts = numbers("--guidance", guidance), numbers("--weights", weights) if weights else []
        files = _files(selection, budgets, output) if output is not None else {}
        if output is None and not estimate:
            raise UsageError("train needs --output, the file for the solver; or --estimate, to be told what it would cost.")
        with show_progress(quiet) as progress:
            named = named_model(host, model, place, dtype)
            sources = sources_of(named, scales, seed=seed, tolerance=tolerance, listener=progress, batch=batch)
            effort = effort_of(selection, sources, budget, gain)
            if estimate:
                _estimate(named.name, estimates(selection, sources, budgets, effort), as_json)
                return
            trainings = Trainings(host, selection, combine(sources, counts), progress, tuple(counts), effort=effort)
            for evaluations, file in files.items():
                _saved(trainings.solver(evaluations), file)
            progress.stage("comparing with the classic solvers on their best time grids")
            solvers = {file: trainings.solver(evaluations) for evaluations, file in files.items()}
            placings = {file: placings_of(trainings, sources, artefact) for file, artefact in solvers.items()}
            trainings.forget()
        if as_json:
            print_json({"solvers": [_described(solvers[file], file, placings[file], scales) for file in solvers]})
            return
        for file, artefact in solvers.items():
            _print(artefact, file, scales, placings[file], brief=len(budgets) > 1)


def _saved(artefact: SolverArtefact, file: Path) -> None:
    """Save what was trained; of processes that have trained it together, the first one does."""
    from bnsbench.process.ranks import team

    if team().first:
        artefact.save(file)


def _estimate(model: str, found: Sequence[TrainingEstimate], as_json: bool) -> None:
    from bnsbench.cli.estimating import print_estimates

    if as_json:
        print_json({"model": model, "estimates": [each.to_dict() for each in found]})
    else:
        print_estimates(model, found)


def _budgets(text: str) -> list[int]:
    """Return the budgets that "8", "4,8" or "4-20" means, ascending."""
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        begin, end = whole_number(first), whole_number(last if dash else first)
        if begin is None or end is None:
            raise UsageError(f"--nfe takes numbers such as 8, 4,8,16 or 4-20, not {quoted(text)}.")
        if max(begin, end) > MOST_EVALUATIONS:
            raise UsageError(f"--nfe takes budgets up to {MOST_EVALUATIONS:,}, not {quoted(text)}.")
        found |= set(range(begin, end + 1))
    if not found or min(found) < 1:
        raise UsageError(f"--nfe needs at least one budget of 1 or more, not {quoted(text)}.")
    return sorted(found)


def _files(selection: Selection[SolverSpec], budgets: Sequence[int], output: Path) -> Mapping[int, Path]:
    """Return the file for every budget; UsageError where the solver or the output does not allow them."""
    from bnsbench.api.named import check_budget

    several = len(budgets) > 1
    if not several:
        require_file(output)
    if output.is_file() and several:
        raise UsageError(f"{str(output)!r} is a file: --output names the folder for several solvers.")
    for budget in budgets:
        check_budget(selection, budget)
    return {budget: output / f"{selection.spec.name}_nfe{budget}.json" if several else output for budget in budgets}


def _described(
    artefact: SolverArtefact, file: Path, placings: Sequence[Placing], scales: Sequence[float]
) -> dict[str, object]:
    record = artefact.training
    return {
        "file": str(file),
        "name": artefact.name,
        **setting_as_json(artefact),
        **{key: record.get(key) for key in ("forwards", "seconds", "stopped", "budget", "price")},
        "placings": placings_as_json(placings, scales),
    }


def _print(
    artefact: SolverArtefact, output: Path, scales: Sequence[float], placings: Sequence[Placing], *, brief: bool
) -> None:
    record = artefact.training
    typer.echo(f"{artefact.name} for {setting(artefact)}: {output}")
    if record.get("forwards") and record.get("seconds"):
        typer.echo(f"{sum(record['forwards'].values()):,} network forwards, {record['seconds']:.1f} seconds for this NFE")
    if record.get("stopped"):
        typer.echo(f"training stopped: {record['stopped']}")
    if record.get("price"):
        from bnsbench.training.price import Price

        typer.echo(Price.of(record["price"]).in_words)
    if record.get("rejected"):
        typer.echo(f"{record['rejected']} trial tables left the finite numbers and were rejected")
    print_placings(placings, scales, artefact.name if brief else "")
