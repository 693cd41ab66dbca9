"""Progress of a training on stderr: bars on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import typer

if TYPE_CHECKING:
    from bnsbench.training.problem import TrainingStatus

SECONDS_BETWEEN_LINES = 5.0


class TrainingProgress(Protocol):
    """Whom a training tells what it does."""

    def stage(self, text: str) -> None:
        """Hear what is being done before and beside the iterations."""

    def training(self, status: TrainingStatus) -> None:
        """Hear how far the iterations are."""


@contextmanager
def training_progress(quiet: bool) -> Iterator[TrainingProgress]:
    """Show progress while the block runs: bars, lines or nothing."""
    if quiet:
        yield _Silence()
    elif sys.stderr.isatty():
        with _bars() as bars:
            yield bars
    else:
        yield _Lines()


class _Silence:
    def stage(self, text: str) -> None: ...

    def training(self, status: TrainingStatus) -> None: ...


class _Lines:
    """Writes every stage, and a status whenever the last line is old enough or a rung ends."""

    def __init__(self) -> None:
        self._last = -SECONDS_BETWEEN_LINES

    def stage(self, text: str) -> None:
        typer.echo(text, err=True)

    def training(self, status: TrainingStatus) -> None:
        now = time.monotonic()
        if now - self._last >= SECONDS_BETWEEN_LINES or status.iteration == status.total:
            self._last = now
            typer.echo(f"{status.nfe} NFE: {status.stage} {status.iteration}/{status.total}, {status.psnr:.2f} dB", err=True)


@contextmanager
def _bars() -> Iterator[TrainingProgress]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[figure]}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        tasks = {}

        class Bars:
            def stage(self, text: str) -> None:
                progress.console.print(text, style="dim", highlight=False, markup=False)

            def training(self, status: TrainingStatus) -> None:
                if status.nfe not in tasks:
                    tasks[status.nfe] = progress.add_task("", figure="")
                figure, name = f"{status.psnr:.2f} dB", f"{status.nfe} NFE: {status.stage}"
                progress.update(
                    tasks[status.nfe], description=name, completed=status.iteration, total=status.total, figure=figure
                )

        yield Bars()
