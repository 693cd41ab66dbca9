"""The executor "processes": cells in worker processes, so that a crash or a hang costs one cell."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any, cast

from bnsbench.errors import BnsbenchError, UsageError
from bnsbench.process import clock
from bnsbench.process.cpu import keep_freed_memory
from bnsbench.process.float32 import use_full_float32
from bnsbench.process.machine import cores, threads
from bnsbench.process.shown import spell_out_streams
from bnsbench.process.streams import print_to_stderr
from bnsbench.suite.failures import OVERTIME, describe
from bnsbench.suite.plan import Cell
from bnsbench.suite.progress import Relay, RunListener
from bnsbench.suite.queues import FieldQueues
from bnsbench.suite.record import Draft, Record
from bnsbench.suite.record_shape import Status
from bnsbench.suite.store import StorageError
from bnsbench.suite.timings import STARTING as STARTING_UP

if TYPE_CHECKING:
    from bnsbench.suite.context import CellContext, Job

Ended = tuple[Cell, Record]

START_SECONDS = 120.0
"""Seconds on top of the timeout until a worker has begun its cell: loading torch can take long."""

PATIENCE = 3600.0
"""Seconds that are waited at once, whatever the timeout; systems know no wait of years."""

PULSE = 1.0
"""Seconds that are waited at once where somebody is to be asked whether the cells are still wanted."""

ANNOUNCEMENTS = {getattr(signal, name) for name in ("SIGUSR1", "SIGUSR2") if hasattr(signal, name)}
"""Signals by which batch systems announce the end of a job to all of its processes; the parent answers them."""

STARTING = "bnsbench worker that starts"
"""The name of a worker process until it is ready for cells."""

UNGUARDED = 64
"""The exit code of a worker whose start has called for a run: the main program, which it imports, has no guard."""


def leave_if_starting() -> None:
    """End this process if it is a worker that has got here by importing an unguarded main program.

    Python starts a process by importing the main program again, and a program that runs cells on import would start
    processes without end. The parent sees the exit code and raises the error.
    """
    if multiprocessing.current_process().name == STARTING:
        os._exit(UNGUARDED)


class ProcessExecutor:
    """Runs cells in worker processes that each keep to one field as long as they can.

    workers: how many; 0 means one for each core of the CPU, or one for each CUDA device. Workers take turns over devices.
    wanted: asked every second, if given; once it says no, the workers are ended and no more cells are run.
    """

    def __init__(self, workers: int = 0, wanted: Callable[[], bool] | None = None) -> None:
        if workers < 0:
            raise UsageError(f"The number of workers must be at least 1, not {workers}.")
        self.workers = workers
        self.wanted = wanted

    def execute(self, cells: Sequence[Cell], job: Job, listener: RunListener) -> Iterator[Ended]:
        """Run the cells; a worker that dies or exceeds the timeout is replaced by another.

        Args:
            cells: Those to run.
            job: The settings that they share.
            listener: Hears which cells start, and what they say while they run.

        Raises:
            UsageError: If the main program starts cells without ``if __name__ == "__main__"``.
            BnsbenchError: If a worker cannot be started.
        """
        leave_if_starting()
        devices = _devices(job.device)
        count = min(self.workers or _default_workers(devices), len(cells))
        jobs = [replace(job, device=devices[i % len(devices)]) for i in range(count)]
        clock.workers(count)
        queues = FieldQueues(cells)
        workers = [_Worker(each) for each in jobs]
        try:
            while workers and (self.wanted is None or self.wanted()):
                workers = [worker for worker in workers if worker.busy or worker.take(queues, listener)]
                yield from _collect(workers, listener, PATIENCE if self.wanted is None else PULSE)
        finally:
            for worker in workers:
                worker.kill()


def _devices(device: str) -> list[str]:
    """Return the devices that the name stands for: "cuda" means all of them."""
    import torch  # noqa: PLC0415

    if device != "cuda":
        return [device]
    return [f"cuda:{i}" for i in range(torch.cuda.device_count())]


def _default_workers(devices: Sequence[str]) -> int:
    return max(1, cores() // threads()) if devices == ["cpu"] else len(devices)


def _collect(workers: Sequence[_Worker], listener: RunListener, most: float) -> Iterator[Ended]:
    """Wait for messages from any worker, at most until the next deadline or so long, and yield the cells that have ended."""
    busy = {worker.connection: (worker, worker.cell) for worker in workers if worker.cell is not None}
    deadlines = [worker.deadline for worker, _ in busy.values() if worker.deadline is not None]
    patience = min([most, *(max(0.0, each - time.monotonic()) for each in deadlines)])
    for connection in wait(list(busy), patience) if busy else ():
        worker, cell = busy[cast("Connection", connection)]
        ended = worker.receive(cell, listener)
        if ended is not None:
            yield ended
    for worker, cell in busy.values():
        if worker.overdue:
            yield worker.give_up(cell, "timeout", OVERTIME)


class _Worker:
    """A worker process seen from the parent; it is started with its first cell and again after its end."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.cell: Cell | None = None
        self.deadline: float | None = None
        self.began = False
        self.started = 0.0
        self.connection: Connection = None  # type: ignore[assignment]
        self.process: Any = None

    @property
    def busy(self) -> bool:
        return self.cell is not None

    @property
    def overdue(self) -> bool:
        return self.busy and self.deadline is not None and time.monotonic() >= self.deadline

    def take(self, queues: FieldQueues, listener: RunListener) -> bool:
        """Begin the next cell, preferring the field of the last one; False, ending the process, if none is left."""
        self.cell = queues.next(id(self))
        if self.cell is None:
            self.kill()
            return False
        if self.process is None:
            self._start()
        listener.started(self.cell)
        self._allow(START_SECONDS)
        try:
            self.connection.send(self.cell)
        except OSError:
            # The process has died between two cells: this cell has not begun, so a new process gets it.
            self.kill()
            self._start()
            with suppress(OSError):  # whoever waits for its answer is told that it has died
                self.connection.send(self.cell)
        return True

    def receive(self, cell: Cell, listener: RunListener) -> Ended | None:
        """Take one message on its cell; return the cell with its record if that has ended it."""
        try:
            kind, content = self.connection.recv()
        except (EOFError, OSError):
            how = self._how()
            if self._unguarded():
                raise UsageError(
                    "Worker processes import the main program, and this one runs cells when it is imported: put that under"
                    ' `if __name__ == "__main__":`, or choose executor="local".'
                ) from None
            return self.give_up(cell, "failed", f"its worker process died{how}")
        except Exception as error:  # noqa: BLE001 (a component may have written into the connection)
            return self.give_up(cell, "failed", f"what its worker process sent cannot be read ({describe(error)})")
        if kind == "record":
            self.cell = None
            return cell, content
        if kind == "began":
            if not self.began:
                clock.beside(STARTING_UP, time.monotonic() - self.started)
            self.began = True
            self._allow(0.0)
            return None
        if kind == "storage":
            raise StorageError(content)
        if kind == "unable":
            raise BnsbenchError(f"A worker process could not begin its work: {content}")
        listener.of_cell(cell, kind, content)
        return None

    def give_up(self, cell: Cell, status: Status, reason: str) -> Ended:
        """End the process and return a record of its cell that says why."""
        self.kill()
        self.cell = None
        return cell, Draft(cell).finish(status, reason)

    def _allow(self, extra: float) -> None:
        """Give the cell the suite's timeout from now on, and some seconds more."""
        self.deadline = None if self.job.timeout is None else time.monotonic() + self.job.timeout + extra

    def kill(self) -> None:
        """End the process at once, if there is one."""
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.connection.close()
            self.process = None

    def _start(self) -> None:
        self.began, self.started = False, time.monotonic()
        context = multiprocessing.get_context("spawn")
        try:
            self.connection, child = context.Pipe()
            # The job is sent as bytes: unpickling it loads torch and the plugins, which the worker has to outlive.
            arguments = (child, pickle.dumps(self.job))
            process = context.Process(target=run_worker, args=arguments, name=STARTING, daemon=True)
            with _interrupts_ignored(), _announcements_held_back(), child:
                process.start()
        except OSError as error:
            raise BnsbenchError(
                f"A worker process could not be started ({error.strerror or error}); finished cells are kept: choose fewer"
                " workers, or the executor 'local'."
            ) from error
        self.process = process

    def _how(self) -> str:
        self.process.join(timeout=10)
        code = self.process.exitcode
        if code is None:
            return ""
        return f" ({signal.Signals(-code).name})" if code < 0 else f" (exit code {code})"

    def _unguarded(self) -> bool:
        """Return whether the process ended before its first cell because of an unguarded main program."""
        return not self.began and self.process.exitcode == UNGUARDED


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Start processes that ignore an interrupt from their first moment: the parent answers it by ending its workers."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _announcements_held_back() -> Iterator[None]:
    """Start processes that no announcement reaches; one that comes meanwhile reaches this process afterwards."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ANNOUNCEMENTS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def run_worker(connection: Connection, pickled: bytes) -> None:
    """Run the cells that come through the connection until it closes: the life of a worker process.

    Args:
        connection: To the parent.
        pickled: The `Job`.
    """
    # Before anything that takes long: whoever has no parent any more is to end at once.
    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    spell_out_streams()
    print_to_stderr()
    try:
        context = _context(pickled, connection)
    except BaseException as error:  # noqa: BLE001 (plugins may raise anything)
        connection.send(("unable", describe(error)))
        return
    multiprocessing.current_process().name = "bnsbench worker"
    from bnsbench.suite.cells import run_cell  # noqa: PLC0415 (loads torch)

    while True:
        try:
            cell = connection.recv()
        except EOFError:
            return
        try:
            connection.send(("began", None))
            connection.send(("record", run_cell(cell, context)))
        except StorageError as error:
            connection.send(("storage", describe(error)))


def _context(pickled: bytes, connection: Connection) -> CellContext:
    """Load torch and the plugins, and return the memory in which the job's cells run."""
    job: Job = pickle.loads(pickled)  # noqa: S301 (from the parent)
    import torch  # noqa: PLC0415

    from bnsbench.suite.context import CellContext  # noqa: PLC0415

    keep_freed_memory()
    use_full_float32()
    torch.set_num_threads(job.threads)
    context = CellContext(job)
    context.listener = Relay(lambda message, content: connection.send((message, content)))
    return context


def _end_with_parent() -> None:
    """End this process when its parent has died, even in the middle of a cell."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
