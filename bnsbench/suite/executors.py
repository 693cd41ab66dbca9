"""Executors: ways to run many cells. Each hands back the records as they come; the caller keeps them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Protocol

from bnsbench.contract.choices import Choice
from bnsbench.process import clock
from bnsbench.process.deadline import Deadline
from bnsbench.process.float32 import full_float32
from bnsbench.process.interrupts import exits_refused
from bnsbench.process.machine import cores
from bnsbench.suite.failures import OVERTIME, CellTimeoutError
from bnsbench.suite.plan import Cell
from bnsbench.suite.progress import Relay, RunListener
from bnsbench.suite.record import Draft, Record
from bnsbench.suite.timings import STARTING

if TYPE_CHECKING:
    from bnsbench.suite.context import CellContext, Job


AUTO = Choice("auto", "auto", "Worker processes where there are several cores or devices and enough to do, else local.")
"""What stands for an executor that is chosen for the run; see `bnsbench.suite.run`."""

ENOUGH_FOR_PROCESSES = 16
"""Cells from which on worker processes, which take seconds to start, are worth it."""


def worth_processes(device: str, cells: int) -> bool:
    """Return whether worker processes would be sooner done than this one; the results are the same.

    Args:
        device: "cpu", "cuda" for all such devices, or "cuda:<i>" for one.
        cells: How many there are to run.
    """
    many = device == "cuda" or (device == "cpu" and cores() > 1)
    return many and cells >= ENOUGH_FOR_PROCESSES


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

    A timeout is raised as an exception in the cell's own code, again and again where that swallows it. It waits for an
    operation of another language in progress; the executor "processes" can end what hangs there, and it alone survives a
    component that crashes the process.
    """

    def execute(self, cells: Sequence[Cell], job: Job, listener: RunListener) -> Iterator[tuple[Cell, Record]]:
        """Run the cells in order; arguments as of `Executor.execute`.

        Args:
            cells: Those to run.
            job: The settings that they share.
            listener: Hears which cells start, and what they say while they run.
        """
        with clock.phase(STARTING):
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
                with exits_refused(), full_float32():
                    record = _in_time(partial(run_cell, cell, context), cell, context, listener)
                yield cell, record
        finally:
            torch.set_num_threads(before)


def _in_time(run: Callable[[], Record], cell: Cell, context: CellContext, listener: RunListener) -> Record:
    """Return the cell's record, one that says so if its time was over before it came to its end."""

    def overdue() -> None:
        listener.notice(
            f"{cell.label} took longer than its timeout and does not end, since Python cannot interrupt what it does:"
            " interrupt the run, and choose the executor 'processes', which ends what hangs."
        )

    deadline = Deadline(context.job.timeout, CellTimeoutError, overdue)
    try:
        record = deadline.call(run)
    except CellTimeoutError:
        record = None
    if not deadline.raised:
        return record or Draft(cell).finish("timeout", OVERTIME)
    # Nobody knows what the alarm has interrupted.
    context.start_afresh()
    return record if record is not None and record.status == "timeout" else Draft(cell).finish("timeout", OVERTIME)
