"""Cells on other machines: what executors of clusters share, whatever carries cells there and messages back."""

from __future__ import annotations

import multiprocessing
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from bnsbench.errors import BnsbenchError, UsageError, one_line
from bnsbench.process.machine import cache_folder, choose_device
from bnsbench.storage.files import replacing
from bnsbench.suite import shards
from bnsbench.suite.plan import Cell
from bnsbench.suite.processes import Ended, ProcessExecutor
from bnsbench.suite.progress import Message as Saying
from bnsbench.suite.progress import RunListener
from bnsbench.suite.record import Draft
from bnsbench.suite.store import ResultStore, storage_errors

if TYPE_CHECKING:
    from bnsbench.suite.context import Job

DAEMONIC = "this worker is a daemonic process, which may start no others (Dask: set DASK_DISTRIBUTED__WORKER__DAEMON=False)."

QUIET = 1.0
"""Seconds between two messages on progress."""


@dataclass(frozen=True)
class Message:
    """What a machine tells of a cell; it can be pickled.

    key: of the cell; "" where the machine can run none.
    kind: "started", "record", "unable" with the reason, or what a running cell says: "stage", "notice", "training".
    content: the record, the reason, or what the cell says.
    files: new files of the results folder by their paths in it, from a machine that does not share it.
    """

    key: str
    kind: str
    content: Any = None
    files: Mapping[str, bytes] = field(default_factory=dict)


Send = Callable[[Message], None]


def deal(cells: Sequence[Cell], count: int) -> list[tuple[Cell, ...]]:
    """Deal cells out to tasks of about the same work, so that as few as can be have to solve the same ground truth.

    The cells of a solver on a field stay together, since trained ones start from those of smaller budgets.

    Args:
        cells: Those to run, in the order of the plan, which each task keeps.
        count: How many tasks there are to be at most, 1 or more.
    """
    place = {cell.key: number for number, cell in enumerate(cells)}
    dealt = shards.deal(cells, count, bond=lambda cell: cell.solver.selector)
    return [tuple(sorted(part, key=lambda cell: place[cell.key])) for part in dealt if part]


def run_and_tell(
    cells: Sequence[Cell],
    job: Job,
    send: Send,
    *,
    workers: int = 1,
    shared: bool = True,
    wanted: Callable[[], bool] | None = None,
) -> None:
    """Run cells on this machine, each in a child process that is ended at the job's timeout, and tell what becomes of them.

    Args:
        cells: Those to run; those of one field are run one after the other, and its ground truth is solved once.
        job: The settings that they share; its device is one of this machine.
        send: Called with each `Message`, from this thread.
        workers: Child processes at once; 0 for one per core, or CUDA device.
        shared: Whether this machine sees the job's results folder and cache; if not, it uses its own cache, and solvers
            and previews are sent as files.
        wanted: Asked every second; once it says no, what runs is ended and nothing more is told.
    """
    listener = _Teller(send)
    try:
        if multiprocessing.current_process().daemon:
            raise UsageError(DAEMONIC)
        job = replace(job, device=choose_device(job.device))
        with _own_folder(job, shared) as (job, new_files):
            for cell, record in ProcessExecutor(workers, wanted).execute(cells, job, listener):
                send(Message(cell.key, "record", record, new_files()))
    except BnsbenchError as error:
        send(Message("", "unable", one_line(error)))


class _Teller(RunListener):
    """Sends what it hears; of progress, no more than anyone can read."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._told = 0.0

    def started(self, cell: Cell) -> None:
        self._send(Message(cell.key, "started"))

    def of_cell(self, cell: Cell, message: Saying, content: Any) -> None:
        now = time.monotonic()
        if message == "notice" or now - self._told >= QUIET:
            self._send(Message(cell.key, message, content))
            self._told = now if message != "notice" else self._told


@contextmanager
def _own_folder(job: Job, shared: bool) -> Iterator[tuple[Job, Callable[[], dict[str, bytes]]]]:
    """Give the job a results folder of this machine where it does not see the run's, and a way to collect what is new."""
    if shared:
        yield job, dict
        return
    with TemporaryDirectory(prefix="bnsbench-") as name:
        folder, known = Path(name), set[Path]()

        def new_files() -> dict[str, bytes]:
            new = {file for file in folder.rglob("[!.]*") if file.is_file()} - known
            known.update(new)
            return {file.relative_to(folder).as_posix(): file.read_bytes() for file in sorted(new)}

        yield replace(job, store=ResultStore(folder), cache=cache_folder()), new_files


class Ledger:
    """The cells of a run that are on other machines: which still wait for their records, and whose machines were lost.

    job, listener: of `bnsbench.plugin.Executor.execute`.
    attempts: how often a cell that a machine has begun may be lost before it is a failed one.
    """

    def __init__(self, cells: Sequence[Cell], job: Job, listener: RunListener, attempts: int = 3) -> None:
        self._store, self._listener, self._attempts = job.store, listener, attempts
        self._waiting = {cell.key: cell for cell in cells}
        self._begun: set[str] = set()
        self._losses: Counter[str] = Counter()

    def hear(self, message: Message) -> Iterator[Ended]:
        """Take a message: keep its files, pass on what is for the listener, and yield a cell with its record.

        What a machine tells that was taken for lost counts once, whoever tells it first.

        Args:
            message: From `run_and_tell`.

        Raises:
            BnsbenchError: If the machine can run no cells.
            StorageError: If files cannot be kept.
        """
        if message.kind == "unable":
            raise BnsbenchError(f"A machine could not run its cells: {message.content}")
        cell = self._waiting.get(message.key)
        if cell is None:
            return
        if message.kind == "started":
            self._begun.add(cell.key)
            self._listener.started(cell)
        elif message.kind == "record":
            self._keep(message.files)
            yield self._done(cell), message.content
        else:
            self._listener.of_cell(cell, message.kind, message.content)  # type: ignore[arg-type]

    def lost(self, cells: Sequence[Cell], how: str) -> tuple[tuple[Cell, ...], list[Ended]]:
        """Return what is to be given out again after a machine has ended, and the cells that are given up, with records.

        Nothing is left of cells whose records have come. Cells that had begun are counted as lost, if none had, all.

        Args:
            cells: What the machine had to run.
            how: How it ended, in a few words.
        """
        left = [cell for cell in cells if cell.key in self._waiting]
        self._losses.update([cell.key for cell in left if cell.key in self._begun] or [cell.key for cell in left])
        self._begun.difference_update(cell.key for cell in left)
        over = [cell for cell in left if self._losses[cell.key] >= self._attempts]
        reason = f"the worker that ran it was lost {self._attempts} times, at last: {how}"
        failed = [(self._done(cell), Draft(cell).finish("failed", reason)) for cell in over]
        again = tuple(cell for cell in left if cell.key in self._waiting)
        if again:
            self._listener.notice(f"A worker was lost ({how}): {len(again)} of its cells are given out again.")
        return again, failed

    def _done(self, cell: Cell) -> Cell:
        return self._waiting.pop(cell.key)

    def _keep(self, files: Mapping[str, bytes]) -> None:
        for name, content in files.items():
            file = self._store.folder / name
            with storage_errors(file), replacing(file) as temporary:
                temporary.write_bytes(content)
