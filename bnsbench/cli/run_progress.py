"""Progress of a run on stderr: a live bar with the time left on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from bnsbench.suite.plan import Cell
from bnsbench.suite.progress import Remaining, RunObserver, SilentObserver
from bnsbench.suite.record import RETRIED, Record

if TYPE_CHECKING:
    from rich.progress import Progress

    from bnsbench.training.problem import TrainingStatus

SECONDS_BETWEEN_LINES = 5.0


@contextmanager
def run_progress(quiet: bool) -> Iterator[RunObserver]:
    """Show the run's progress while the block runs."""
    if quiet:
        yield _Notices()
    elif sys.stderr.isatty():
        with _bar() as progress:
            yield _Bar(progress)
    else:
        yield _Lines()


class _Notices(SilentObserver):
    """Tells only what the user should know."""

    def notice(self, text: str) -> None:
        typer.echo(text, err=True)


class _Progress(_Notices):
    """Counts cells and estimates the time that is left."""

    def __init__(self) -> None:
        self.total = 0
        self.running: dict[str, float] = {}
        self.remaining = Remaining()

    def planned(self, cells: Sequence[Cell], pending: Sequence[Cell]) -> None:
        del cells
        self.total = len(pending)
        self.remaining = Remaining([cell for cell in pending if cell.skip is None])

    def cell_started(self, cell: Cell) -> None:
        self.running[cell.key] = time.monotonic()

    def cell_finished(self, cell: Cell, record: Record) -> None:
        del record
        began = self.running.pop(cell.key, None)
        if began is not None:
            self.remaining.finish(cell, time.monotonic() - began)

    @property
    def done(self) -> int:
        return self.total - len(self.remaining.cells)

    def time_left(self) -> str:
        """Return the estimate as text, empty while there is none."""
        seconds = self.remaining.seconds(max(1, len(self.running)))
        return "" if seconds is None else f"about {_duration(seconds)} left"


class _Lines(_Progress):
    """Writes a line for a cell if the last line is old enough, and for every cell that fails."""

    def __init__(self) -> None:
        super().__init__()
        self._last = -SECONDS_BETWEEN_LINES

    def planned(self, cells: Sequence[Cell], pending: Sequence[Cell]) -> None:
        super().planned(cells, pending)
        typer.echo(f"{len(cells)} cells, {len(self.remaining.cells)} to run.", err=True)

    def stage(self, cell: Cell, text: str) -> None:
        self._write(f"{cell.label}: {text}")

    def training(self, cell: Cell, status: TrainingStatus) -> None:
        self._write(f"{cell.label}: {status.stage} {status.iteration}/{status.total}, {status.psnr:.2f} dB")

    def cell_finished(self, cell: Cell, record: Record) -> None:
        super().cell_finished(cell, record)
        if cell.skip is None:
            text = f"[{self.done}/{self.total}] {cell.label}: {_result(record)}"
            left = self.time_left()
            self._write(f"{text}, {left}" if left else text, always=record.status in RETRIED)

    def _write(self, text: str, always: bool = False) -> None:
        now = time.monotonic()
        if always or now - self._last >= SECONDS_BETWEEN_LINES:
            self._last = now
            typer.echo(text, err=True)


class _Bar(_Progress):
    """Keeps a live bar up to date and prints cells that fail above it."""

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self.progress = progress
        self.task = progress.add_task("", total=None, left="", doing="")

    def planned(self, cells: Sequence[Cell], pending: Sequence[Cell]) -> None:
        super().planned(cells, pending)
        self.progress.update(self.task, total=len(pending))

    def notice(self, text: str) -> None:
        self.progress.console.print(text, markup=False, highlight=False)

    def cell_started(self, cell: Cell) -> None:
        super().cell_started(cell)
        self._show(cell.label)

    def stage(self, cell: Cell, text: str) -> None:
        self._show(f"{cell.label}: {text}")

    def training(self, cell: Cell, status: TrainingStatus) -> None:
        self._show(f"{cell.label}: {status.stage} {status.iteration}/{status.total}, {status.psnr:.2f} dB")

    def cell_finished(self, cell: Cell, record: Record) -> None:
        super().cell_finished(cell, record)
        self.progress.update(self.task, completed=self.done, left=self.time_left())
        if record.status in RETRIED:
            self.notice(f"{cell.label}: {_result(record)}")

    def _show(self, text: str) -> None:
        self.progress.update(self.task, doing=text)


@contextmanager
def _bar() -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeElapsedColumn
    from rich.text import Text

    class Doing(ProgressColumn):
        """What is being done; plain text, since selectors hold brackets."""

        def render(self, task: Any) -> Text:
            return Text(task.fields["doing"], style="dim")

    columns = (BarColumn(24), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.fields[left]}"), Doing())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield progress


def _result(record: Record) -> str:
    if record.status != "ok":
        return f"{record.status}: {record.reason}"
    scores = [f"{name} {score.value:.2f} {score.unit}".strip() for name, score in record.metrics.items() if score.value]
    return scores[0] if scores else "ok"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
