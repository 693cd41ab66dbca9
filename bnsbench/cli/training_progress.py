"""Progress of a training on stderr: bars on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from bnsbench.training.listener import Listener

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from bnsbench.training.problem import TrainingStatus

SECONDS_BETWEEN_LINES = 5.0


@contextmanager
def training_progress(quiet: bool) -> Iterator[Listener]:
    """Show progress while the block runs: bars, lines or nothing."""
    if quiet:
        yield Listener()
    elif sys.stderr.isatty():
        with _rich_progress() as progress:
            yield _Bars(progress)
    else:
        yield _Lines()


def figures(status: TrainingStatus) -> str:
    """Return the best PSNR so far, and where they are known the loss now, the damping and the forwards spent, in words."""
    loss = "" if status.loss is None else f", loss {status.loss:.3f}"
    damping = "" if status.damping is None else f", damping {status.damping:.0e}"
    forwards = f", {status.forwards / 1e6:.2f} M forwards" if status.forwards else ""
    return f"{status.psnr:.2f} dB{loss}{damping}{forwards}"


class _Lines(Listener):
    """Writes every stage, and a status whenever the last line is old enough or a rung ends."""

    def __init__(self) -> None:
        self._last = -SECONDS_BETWEEN_LINES
        self._first: dict[int, tuple[float, int]] = {}

    def stage(self, text: str) -> None:
        typer.echo(text, err=True)

    def notice(self, text: str) -> None:
        typer.echo(text, err=True)

    def training(self, status: TrainingStatus) -> None:
        now = time.monotonic()
        began, first = self._first.setdefault(status.nfe, (now, status.iteration))
        if now - self._last >= SECONDS_BETWEEN_LINES or status.iteration == status.total:
            self._last = now
            pace = (now - began) / max(status.iteration - first, 1)
            left = pace * (status.total - status.iteration)
            eta = f", at most {left:.0f} s left" if left else ""
            done = f"{status.nfe} NFE: {status.stage} {status.iteration}/{status.total}"
            typer.echo(f"{done}, {figures(status)}{eta}", err=True)


class _Bars(Listener):
    """Shows one bar for each NFE that is trained, and the stages above them."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[int, TaskID] = {}

    def stage(self, text: str) -> None:
        self._progress.console.print(text, style="dim", highlight=False, markup=False)

    def notice(self, text: str) -> None:
        self._progress.console.print(text, highlight=False, markup=False)

    def training(self, status: TrainingStatus) -> None:
        if status.nfe not in self._tasks:
            self._tasks[status.nfe] = self._progress.add_task("", figure="")
        self._progress.update(
            self._tasks[status.nfe],
            description=f"{status.nfe} NFE: {status.stage}",
            completed=status.iteration,
            total=status.total,
            figure=figures(status),
        )


def _rich_progress() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    figure = TextColumn("{task.fields[figure]}")
    columns = (TextColumn("{task.description}"), BarColumn(), figure, TimeElapsedColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)
