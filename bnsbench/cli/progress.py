"""Progress of trainings and runs on stderr: bars on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from bnsbench.cli.printing import error_console, styled
from bnsbench.process.shown import shown_streams
from bnsbench.suite.plan import Cell
from bnsbench.suite.progress import Message, Remaining, RunListener
from bnsbench.suite.record import RETRIED, Record

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from bnsbench.training.problem import TrainingStatus

SECONDS_BETWEEN_LINES = 5.0


@contextmanager
def show_progress(quiet: bool, retrain: bool = False) -> Iterator[RunListener]:
    """Show what a training or a run does while the block runs: in bars, in lines, or if quiet its notices alone.

    retrain: whether a run trains solvers that are shipped, for the time that it takes.
    """
    if quiet:
        yield _Notices()
    elif sys.stderr.isatty():
        # While bars are drawn, rich stands in for stderr: what others print is spelt out before it comes there.
        with _rich_progress() as progress, shown_streams():
            yield _Bars(progress, retrain)
    else:
        yield _Lines(retrain)


def figures(status: TrainingStatus) -> str:
    """Return the best PSNR so far, and where they are known the loss now, the damping and the forwards spent, in words."""
    loss = "" if status.loss is None else f", loss {status.loss:.3f}"
    damping = "" if status.damping is None else f", damping {status.damping:.0e}"
    forwards = f", {spent(status)} forwards" if status.forwards else ""
    return f"{status.psnr:.2f} dB{loss}{damping}{forwards}"


def spent(status: TrainingStatus) -> str:
    """Return the forwards that a training has spent, of how many where that is known and not passed yet."""
    if status.expected > status.forwards:
        return f"{status.forwards / 1e6:.2f} of about {status.expected / 1e6:.2f} M"
    return f"{status.forwards / 1e6:.2f} M"


def result(record: Record) -> str:
    """Return what has become of a cell: its first score, or its status with the reason."""
    if record.status != "ok":
        return f"{record.status}: {record.reason}"
    known = [(name, score) for name, score in record.metrics.items() if score.value is not None]
    scores = [f"{name} {score.value:.2f} {score.unit}".strip() for name, score in known]
    return scores[0] if scores else "ok"


def duration(seconds: float) -> str:
    """Return seconds as people say them."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


class _Notices(RunListener):
    """Tells only what the user should know."""

    def notice(self, text: str) -> None:
        typer.echo(text, err=True)


class _Clock(_Notices):
    """Counts cells, and estimates the time that cells and trainings still take."""

    def __init__(self, retrain: bool = False) -> None:
        self.began = time.monotonic()
        self._retrain = retrain
        self.total: int | None = None
        self._running: dict[str, float] = {}
        self._remaining = Remaining()
        self._trainings: dict[tuple[str, int], tuple[float, int, int]] = {}

    def planned(self, cells: Sequence[Cell], pending: Sequence[Cell]) -> None:
        del cells
        self.total = len(pending)
        self._remaining = Remaining([cell for cell in pending if cell.skip is None], self._retrain)

    def started(self, cell: Cell) -> None:
        self._running[cell.key] = time.monotonic()

    def of_cell(self, cell: Cell, message: Message, content: Any) -> None:
        if message == "training":
            self.iterating(content, f"{cell.label}: ", self._running.get(cell.key, self.began))
        else:
            super().of_cell(cell, message, content)

    def training(self, status: TrainingStatus) -> None:
        self.iterating(status, "", self.began)

    def iterating(self, status: TrainingStatus, cell: str, began: float) -> None:
        """Show how far a training is; ``cell`` is the label of the cell that it is for, or "", and ``began`` its start."""

    def finished(self, cell: Cell, record: Record) -> None:
        del record
        began = self._running.pop(cell.key, None)
        if began is not None:
            self._remaining.finish(cell, time.monotonic() - began)

    @property
    def left(self) -> int:
        """How many cells still have to be run."""
        return len(self._remaining)

    @property
    def done(self) -> int:
        """How many of the cells that were pending have a record now."""
        return (self.total or 0) - self.left

    def time_left(self) -> str:
        """Return how long the cells that are left take, in words; "" while nothing is known."""
        seconds = self._remaining.seconds(max(1, len(self._running)))
        return "" if seconds is None else f"about {duration(seconds)} left"

    def training_left(self, status: TrainingStatus, cell: str, now: float) -> str:
        """Return how long a training still takes at the pace that it has had, in words; "" at its end.

        By the forwards that it is expected to come to, or where that is not known, by its iterations at most.
        """
        began, first, forwards = self._trainings.setdefault((cell, status.nfe), (now, status.iteration, status.forwards))
        if status.expected > status.forwards:
            done, left, word = status.forwards - forwards, status.expected - status.forwards, "about"
        else:
            done, left, word = status.iteration - first, status.total - status.iteration, "at most"
        seconds = (now - began) / max(done, 1) * left
        return f"{word} {duration(seconds)} left" if seconds else ""


class _Lines(_Clock):
    """Writes lines: now and then for what a run or the iterations of a training are at, always for what is rare."""

    def __init__(self, retrain: bool = False) -> None:
        super().__init__(retrain)
        self._last = -SECONDS_BETWEEN_LINES

    def planned(self, cells: Sequence[Cell], pending: Sequence[Cell]) -> None:
        super().planned(cells, pending)
        typer.echo(f"{len(cells)} cells, {self.left} to run.", err=True)

    def stage(self, text: str) -> None:
        if self.total is None:  # a training, which has few stages, and a run many
            typer.echo(text, err=True)
        else:
            self._write([text], time.monotonic())

    def iterating(self, status: TrainingStatus, cell: str, began: float) -> None:
        now = time.monotonic()
        parts = [f"{cell}{status.nfe} NFE: {status.stage} {status.iteration}/{status.total}", figures(status)]
        parts += [duration(now - began), self.training_left(status, cell, now)]
        self._write(parts, now, always=self.total is None and status.iteration == status.total)

    def finished(self, cell: Cell, record: Record) -> None:
        super().finished(cell, record)
        if cell.skip is None:
            parts = [f"[{self.done}/{self.total}] {cell.label}: {result(record)}", self.time_left()]
            self._write(parts, time.monotonic(), always=record.status in RETRIED)

    def _write(self, parts: Sequence[str], now: float, *, always: bool = False) -> None:
        """Write a line of the parts that are not empty, if the last one is old enough or it is ``always`` written."""
        if always or now - self._last >= SECONDS_BETWEEN_LINES:
            self._last = now
            typer.echo(", ".join(part for part in parts if part), err=True)


class _Bars(_Clock):
    """Shows one bar for the cells of a run, or else one for each NFE that is trained; what should stay stands above them."""

    def __init__(self, progress: Progress, retrain: bool = False) -> None:
        super().__init__(retrain)
        self._progress = progress
        self._cells: TaskID | None = None
        self._trained: dict[int, TaskID] = {}

    def planned(self, cells: Sequence[Cell], pending: Sequence[Cell]) -> None:
        super().planned(cells, pending)
        self._cells = self._add()
        self._progress.update(self._cells, total=len(pending))

    def notice(self, text: str) -> None:
        self._print(text)

    def started(self, cell: Cell) -> None:
        super().started(cell)
        self.stage(cell.label)

    def stage(self, text: str) -> None:
        if self._cells is None:
            self._print(text, style="dim")
        else:
            self._progress.update(self._cells, doing=text)

    def iterating(self, status: TrainingStatus, cell: str, began: float) -> None:
        now, stage = time.monotonic(), f"{cell}{status.nfe} NFE: {status.stage}"
        left = self.training_left(status, cell, now)
        if self._cells is not None:
            self.stage(f"{stage} {status.iteration}/{status.total}, {figures(status)}, {duration(now - began)}")
            return
        if status.nfe not in self._trained:
            self._trained[status.nfe] = self._add()
        self._progress.update(
            self._trained[status.nfe],
            completed=status.iteration,
            total=status.total,
            left=left,
            doing=f"{stage}, {figures(status)}",
        )

    def finished(self, cell: Cell, record: Record) -> None:
        super().finished(cell, record)
        if self._cells is not None:
            self._progress.update(self._cells, completed=self.done, left=self.time_left())
        if record.status in RETRIED:
            self._print(f"{cell.label}: {result(record)}")

    def _add(self) -> TaskID:
        return self._progress.add_task("", total=None, left="", doing="")

    def _print(self, text: str, style: str | None = None) -> None:
        self._progress.console.print(styled(text, style or ""))


def _rich_progress() -> Progress:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeElapsedColumn

    class Doing(ProgressColumn):
        """What is being done; plain text, since selectors hold brackets."""

        def render(self, task: Any) -> Any:
            return styled(task.fields["doing"], "dim")

    columns = (BarColumn(24), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.fields[left]}"), Doing())
    return Progress(*columns, console=error_console(), transient=True)
