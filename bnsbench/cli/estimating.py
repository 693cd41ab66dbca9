"""What ``train --estimate`` prints: seconds, memory, forwards and hours by phase, and what smaller budgets would do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from bnsbench.cli.printing import print_table

if TYPE_CHECKING:
    from bnsbench.api.effort import Course, TrainingEstimate

PHASES = {"truth": "ground truth", "start": "start", "training": "training", "validation": "validation"}


def print_estimates(model: str, estimates: Sequence[TrainingEstimate]) -> None:
    """Print what trainings would cost, the lower rungs of their ladders included."""
    speed = estimates[0].speed
    memory = "" if speed.memory is None else f"; {speed.memory / 2**30:.2f} GiB at its peak, forwards and backwards"
    typer.echo(f"{model}: {1000 * speed.seconds:.3g} ms a forward, in batches of {speed.batch}{memory}")
    for each in estimates:
        _print(each)


def _print(estimate: TrainingEstimate) -> None:
    whole = estimate.courses[0]
    rungs = f", after {' and '.join(map(str, whole.rungs))} NFE" if whole.rungs else ""
    typer.echo(f"\n{estimate.nfe} NFE{rungs}: about {whole.forwards:,} forwards, {hours(whole.seconds)}")
    rows = [[PHASES[phase], f"{count:,}", hours(_share(whole, count))] for phase, count in whole.phases.items()]
    print_table(("phase", "forwards", "time"), rows)
    if estimate.courses[1:]:
        typer.echo("With a smaller --budget:")
        print_table(
            ("budget", "forwards", "time", "pairs", "validation", "lower rungs"),
            [_row(each) for each in estimate.courses[1:]],
        )


def _row(course: Course) -> list[str]:
    rungs = ", ".join(map(str, course.rungs)) or "none"
    budget = f"{course.budget:,.0f}"
    return [budget, f"{course.forwards:,}", hours(course.seconds), str(course.pairs), str(course.validation), rungs]


def _share(course: Course, forwards: int) -> float:
    return course.seconds * forwards / max(course.forwards, 1)


def hours(seconds: float) -> str:
    """Return a time in the unit that suits it: seconds, minutes or hours."""
    if seconds < 90:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
