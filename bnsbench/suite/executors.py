"""Executors: ways to run many cells. Each hands back the records as they come; the caller keeps them."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, Protocol

from bnsbench.contract.choices import Choice
from bnsbench.suite.failures import CellTimeoutError
from bnsbench.suite.plan import Cell
from bnsbench.suite.progress import Relay, RunListener
from bnsbench.suite.record import Record

if TYPE_CHECKING:
    from bnsbench.suite.context import Job


AUTO = Choice("auto", "auto", "Worker processes where there are several cores or devices and enough to do, else local.")
"""What stands for an executor that is chosen for the run; see `bnsbench.suite.run`."""


class Executor(Protocol):
    """A way to run cells, possibly many at once and elsewhere."""

    def execute(self, cells: Sequence[Cell], job: Job, listener: RunListener) -> Iterator[tuple[Cell, Record]]:
        """Run every cell by `bnsbench.suite.cells.run_cell` and yield it with its record, in the order in which they end.

        Where a cell makes no record itself (its process died, it took too long), a record that says so is yielded.

        Args:
            cells: Those to run, in the order of the plan.
            job: The settings that they share.
            listener: Hears which cells start, and what they say while they run.
        """


class LocalExecutor:
    """Runs the cells one after the other in this process.

    A timeout is raised as an exception in the cell's own code, so it waits for an operation in progress; the executor
    "processes" can end what hangs.
    """

    def execute(self, cells: Sequence[Cell], job: Job, listener: RunListener) -> Iterator[tuple[Cell, Record]]:
        """Run the cells in order; arguments as of `Executor.execute`.

        Args:
            cells: Those to run.
            job: The settings that they share.
            listener: Hears which cells start, and what they say while they run.
        """
        import torch  # noqa: PLC0415 (only a run that has work to do loads torch)

        from bnsbench.suite.cells import run_cell  # noqa: PLC0415
        from bnsbench.suite.context import CellContext  # noqa: PLC0415

        before = torch.get_num_threads()
        torch.set_num_threads(job.threads)
        context = CellContext(job)
        try:
            for cell in cells:
                listener.started(cell)
                context.listener = Relay(partial(listener.of_cell, cell))
                with _alarm(job.timeout):
                    record = run_cell(cell, context)
                yield cell, record
        finally:
            torch.set_num_threads(before)


@contextmanager
def _alarm(seconds: float | None) -> Iterator[None]:
    """Raise CellTimeoutError in the block after so many seconds, where the system and thread allow it."""
    if seconds is None or not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, _raise_timeout)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _raise_timeout(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise CellTimeoutError("it took longer than the suite's timeout")
