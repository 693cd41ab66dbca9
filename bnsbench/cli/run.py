"""``bnsbench run``: run a suite, or go on with it, and show its leaderboard."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from bnsbench._text import quoted
from bnsbench.cli.options import AsJson, Device, DType, PluginFiles, Programs, Quiet, open_host, with_model_file
from bnsbench.errors import UsageError

if TYPE_CHECKING:
    from bnsbench.contract import PluginHost
    from bnsbench.suite.estimate import Estimate
    from bnsbench.suite.plan import Cell
    from bnsbench.suite.run import RunOptions, RunPlan

Names = list[str] | None
_N = TypeVar("_N", int, float)


def run(
    suite: Annotated[str, typer.Argument(metavar="SUITE", help="Suite by name, or a TOML file.")] = "default",
    model: Annotated[Names, typer.Option(help="Model instead of the suite's; may be repeated.")] = None,
    solver: Annotated[Names, typer.Option(help="Solver instead of the suite's; may be repeated.")] = None,
    nfe: Annotated[Names, typer.Option(help="Budgets instead of the suite's, such as 4,8.")] = None,
    guidance: Annotated[Names, typer.Option(help="Guidance scales w instead of the suite's, such as 0,2.")] = None,
    metric: Annotated[Names, typer.Option(help="Metric instead of the suite's; may be repeated.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of every noise stream.")] = None,
    samples: Annotated[int | None, typer.Option(help="Samples per cell.")] = None,
    batch: Annotated[int | None, typer.Option(help="Samples per network evaluation; results do not depend on it.")] = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds after which a cell is given up.")] = None,
    device: Device = "auto",
    dtype: DType = None,
    executor: Annotated[str, typer.Option(help="auto, local, processes, or one of a plugin.")] = "auto",
    workers: Annotated[int | None, typer.Option(help="Worker processes, with the executor 'processes'.")] = None,
    results: Annotated[Path, typer.Option(metavar="DIR", help="Folder in which the suite's results lie.")] = Path("runs"),
    shard: Annotated[
        str | None,
        typer.Option(metavar="INDEX/COUNT", help="Run one of COUNT parts, from 0/COUNT on; others may run elsewhere."),
    ] = None,
    plugin: PluginFiles = None,
    allow_program: Programs = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print what would be run.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Run finished cells and training again.")] = False,
    retrain: Annotated[bool, typer.Option("--retrain", help="Train also the solvers that the package ships.")] = False,
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="Let torch use deterministic algorithms alone, for the same bits again.")
    ] = False,
    trust_records: Annotated[
        bool, typer.Option("--trust-records", help="Do not look whether models and files are those of finished cells.")
    ] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Run the cells of a suite that are not finished yet, and show the leaderboard.

    Results lie in runs/SUITE. Every cell is kept the moment it ends: after any interruption the same command goes on where
    it was. A finished cell is run again if its model, or files that a metric reads, have changed since.
    """
    from bnsbench.suite.run import RunOptions
    from bnsbench.suite.suitefile import folder_beside

    named = [with_model_file(each, None) for each in model or ()]
    model = [selector for selector, _ in named] if model else None
    plugin = [*(plugin or ()), *(file for _, files in named for file in files or ())]
    options = RunOptions(
        suite=suite,
        models=model,
        solvers=solver,
        nfe=_numbers("--nfe", nfe, int, "whole numbers of at least 1", minimum=1),
        guidance=_numbers("--guidance", guidance, float, "numbers of at least 0", minimum=0),
        metrics=metric,
        seed=seed,
        samples=samples,
        batch=batch,
        timeout=timeout,
        device=device,
        dtype=dtype and dtype.value,
        executor=executor,
        workers=workers,
        results=results,
        fresh=fresh,
        retrain=retrain,
        deterministic=deterministic,
        trust_records=trust_records,
        shard=shard,
    )
    host = open_host(plugin, folder_beside(suite), allow_program)
    if dry_run:
        _dry_run(options, host, quiet, as_json)
        return
    _run(options, host, quiet, as_json)


def _run(options: RunOptions, host: PluginHost, quiet: bool, as_json: bool) -> None:
    from bnsbench.api.running import run_and_report
    from bnsbench.cli.printing import print_json, shown_path
    from bnsbench.cli.progress import show_progress
    from bnsbench.process.streams import stdout_kept_clean

    with stdout_kept_clean(), show_progress(quiet or as_json, options.retrain) as listener:
        outcome, frame = run_and_report(options, host, listener)
    if as_json:
        print_json(outcome.to_dict())
    else:
        from bnsbench.cli.leaderboard import print_leaderboard, print_notes

        print_notes(frame)
        if not outcome.missing:
            print_leaderboard(frame)
        counts = ", ".join(f"{count} {status}" for status, count in outcome.counts.items()) or "no cells"
        typer.echo(f"\n{shown_path(outcome.folder)}: {counts}; {outcome.ran} run now.")
        if outcome.missing:
            typer.echo(f"{outcome.missing} cells of other shards are not here yet: the last one writes the leaderboard.")
        if outcome.ran and not quiet:
            typer.echo(f"{outcome.timings.line}.", err=True)
        for record in outcome.failures:
            typer.echo(f"{record.status}: {record.key}: {record.reason}", err=True)
    if outcome.exit_code:
        raise typer.Exit(outcome.exit_code)


def _numbers(option: str, texts: Names, kind: type[_N], meant: str, minimum: float) -> list[_N] | None:
    """Return the comma-separated numbers of an option; UsageError quotes the first that is none or too small."""
    if not texts:
        return None
    numbers = []
    for part in ",".join(texts).split(","):
        try:
            number = kind(part)
        except ValueError:
            number = None
        if number is None or not minimum <= number < float("inf"):
            raise UsageError(f"{option} takes {meant}, separated by commas, not {quoted(part.strip())}.")
        numbers.append(number + kind(0))  # -0 is 0
    return numbers


def _dry_run(options: RunOptions, host: PluginHost, quiet: bool, as_json: bool) -> None:
    """Print what a run would do: the plan, what is finished already, and what the rest is expected to cost."""
    from bnsbench.cli.progress import show_progress
    from bnsbench.suite.run import find_finished, plan_run

    plan = plan_run(options, host)
    with show_progress(quiet or as_json) as listener:
        left = find_finished(plan, options, host, listener).pending(plan.cells)
    if as_json:
        _print_plan_json(plan, left, options.retrain)
    else:
        _print_plan(plan, left, options.retrain)


def _finished(plan: RunPlan, left: Sequence[Cell]) -> set[str]:
    """Return the keys of the cells that are finished; one that cannot be run is not, even if its record says so."""
    waiting = {cell.key for cell in left}
    return {cell.key for cell in plan.cells if cell.skip is None and cell.key not in waiting}


def _counts(plan: RunPlan, left: Sequence[Cell]) -> dict[str, int]:
    """Return how many of the plan's cells are finished, left or skipped: together all of them."""
    skipped, finished = sum(cell.skip is not None for cell in plan.cells), len(_finished(plan, left))
    return {"finished": finished, "left": len(plan.cells) - skipped - finished, "skipped": skipped}


def _print_plan_json(plan: RunPlan, left: Sequence[Cell], retrain: bool) -> None:
    from bnsbench.cli.printing import print_json
    from bnsbench.suite.estimate import estimate

    finished = _finished(plan, left)
    rows = [
        {
            "cell": cell.key,
            "nfe": cell.nfe,
            "forwards": _forwards(cell),
            "skip": cell.skip,
            "finished": cell.key in finished,
        }
        for cell in plan.cells
    ]
    content = {"results": str(plan.store.folder), **_counts(plan, left)}
    print_json({**content, "estimate": estimate(left, retrain).to_dict(), "cells": rows})


def _print_plan(plan: RunPlan, left: Sequence[Cell], retrain: bool) -> None:
    from bnsbench.cli.printing import print_table, shown_path
    from bnsbench.suite.estimate import estimate

    finished, counts, cost = _finished(plan, left), _counts(plan, left), estimate(left, retrain)
    columns = ("model", "w", "solver", "NFE", "forwards", "remark")
    print_table(columns, [_plan_row(cell, cell.key in finished, retrain) for cell in plan.cells])
    typer.echo(
        f"\n{counts['left']} cells to run, {counts['skipped']} skipped; results in {shown_path(plan.store.folder)}.\n"
        f"{counts['finished']} cells are finished already.\n"
        f"Network forwards: {cost.sampling:,} for sampling, about {cost.truth:,} for ground truth and {cost.training:,} for"
        f" training {sum(cell.needs_training(retrain) for cell in left if cell.skip is None)} solvers{_hours(cost)}."
    )


def _hours(cost: Estimate) -> str:
    from bnsbench.suite.estimate import GPU, UTILISATION

    if cost.hours is None:
        return ""
    return f"; together about {cost.hours:,.1f} hours of one {GPU} at {UTILISATION:.0%} of its peak speed"


def _plan_row(cell: Cell, finished: bool, retrain: bool) -> list[str]:
    named = [cell.model.shown, f"{cell.guidance:g}", cell.solver.shown, str(cell.nfe)]
    return [*named, str(_forwards(cell)), _remark(cell, finished, retrain)]


def _remark(cell: Cell, finished: bool, retrain: bool) -> str:
    """Return what will become of a cell, in a word or with the reason; "" for one that samples alone."""
    if cell.skip:
        return f"skipped: {cell.skip}"
    if finished:
        return "finished"
    if cell.needs_training(retrain):
        return "trained"
    return "shipped" if cell.trained else ""


def _forwards(cell: Cell) -> int:
    return 0 if cell.skip else cell.forwards * cell.samples
