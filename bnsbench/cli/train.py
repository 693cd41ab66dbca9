"""``bnsbench train``: solvers trained for one model, saved as files and shown among the classics."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bnsbench.cli.options import Device, DType, PluginFiles, Quiet, Seed, numbers, open_host
from bnsbench.cli.placings import print_placings
from bnsbench.errors import UsageError
from bnsbench.process.cpu import keep_freed_memory

if TYPE_CHECKING:
    from bnsbench.cli.training import Placing
    from bnsbench.contract import Selection
    from bnsbench.contract.specs import SolverSpec
    from bnsbench.nonstationary.artefact import SolverArtefact


def train(
    model: Annotated[str, typer.Argument(help="Model to train for, such as digits-ot or digits-gmm[path=vp].")],
    nfe: Annotated[str, typer.Option(metavar="N|N-M|N,M,...", help="Evaluations that the solvers may spend.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="SOLVER.json|DIR", help="File for the solver, or folder for several.")
    ],
    *,
    guidance: Annotated[str, typer.Option(metavar="W[,W,...]", help="Guidance scale, or all that one solver serves.")] = "0",
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
        str | None, typer.Option(help="backward, or forward or difference to spare memory.", show_default=False)
    ] = None,
    tolerance: Annotated[float, typer.Option(help="Of the ground truth; a coarser one is cheaper.")] = 1e-6,
    seed: Seed = 0,
    device: Device = "auto",
    dtype: DType = None,
    plugin: PluginFiles = None,
    quiet: Quiet = False,
) -> None:
    """Train solvers, save them, and show where they stand among tuned classics on fresh noise."""
    from bnsbench.cli.progress import show_progress
    from bnsbench.cli.training import Session, combined, placings_of, sources_of

    keep_freed_memory()
    host = open_host(plugin)
    choices = {"init": init, "objective": objective, "optimiser": optimiser, "derivative": derivative}
    selection, chosen, budgets = _with(host.solver(solver), choices), host.model(model), _budgets(nfe)
    scales, counts = numbers("--guidance", guidance), numbers("--weights", weights) if weights else []
    _check(selection, budgets, output, tolerance)
    with show_progress(quiet) as progress:
        sources = sources_of(chosen, scales, seed, tolerance, device, dtype, progress)
        session = Session(host, selection, combined(sources, counts), progress, counts)
        files = {budget: _file(output, selection, budget, len(budgets) > 1) for budget in budgets}
        for budget, file in files.items():
            session.trained(budget).save(file)
        progress.stage("comparing with the classic solvers on their best time grids")
        placings = {budget: placings_of(session, sources, session.trained(budget)) for budget in budgets}
        session.forget()
    for budget, file in files.items():
        _print(session.trained(budget), file, scales, placings[budget], brief=len(budgets) > 1)


def _with(selection: Selection[SolverSpec], settings: dict[str, str | None]) -> Selection[SolverSpec]:
    """Return the selection with the settings that are not None; UsageError for one that the solver does not take."""
    from dataclasses import replace

    from bnsbench.contract.selectors import select

    given = {key: value for key, value in settings.items() if value is not None}
    chosen = select(selection.spec, given).parameters
    return replace(selection, parameters={**selection.parameters, **{key: chosen[key] for key in given}})


def _budgets(text: str) -> list[int]:
    """Return the budgets that "8", "4,8" or "4-20" means, ascending."""
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise UsageError(f"--nfe takes numbers such as 8, 4,8,16 or 4-20, not {text!r}.")
        found |= set(range(int(first), int(last or first) + 1))
    if not found or min(found) < 1:
        raise UsageError(f"--nfe needs at least one budget of 1 or more, not {text!r}.")
    return sorted(found)


def _check(selection: Selection[SolverSpec], budgets: Sequence[int], output: Path, tolerance: float) -> None:
    from bnsbench.cli.components import check_budget

    if not selection.spec.trained:
        raise UsageError(f"The solver {selection.name!r} is not a trained one; use it by its name.")
    if output.is_dir() and len(budgets) == 1:
        raise UsageError(f"{str(output)!r} is a folder: --output names the file for the solver.")
    if output.is_file() and len(budgets) > 1:
        raise UsageError(f"{str(output)!r} is a file: --output names the folder for several solvers.")
    for budget in budgets:
        check_budget(selection, budget)
    if not 0 < tolerance < 1:
        raise UsageError(f"--tolerance must lie between 0 and 1, not {tolerance:g}.")


def _file(output: Path, selection: Selection[SolverSpec], budget: int, several: bool) -> Path:
    return output / f"{selection.spec.name}_nfe{budget}.json" if several else output


def _print(
    artefact: SolverArtefact, output: Path, scales: Sequence[float], placings: Sequence[Placing], *, brief: bool
) -> None:
    from bnsbench.truth.mixed_source import guidance_in_words

    words = f"{artefact.model} at guidance {guidance_in_words(artefact.guidance)} and {artefact.solver.nfe} NFE"
    typer.echo(f"{artefact.name} for {words}: {output}")
    if artefact.training.get("stopped"):
        typer.echo(f"training stopped: {artefact.training['stopped']}")
    if artefact.training.get("rejected"):
        typer.echo(f"{artefact.training['rejected']} trial tables left the finite numbers and were rejected")
    print_placings(placings, scales, artefact.name if brief else "")
