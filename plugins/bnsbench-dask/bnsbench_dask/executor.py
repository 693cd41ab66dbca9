"""The executor "dask": cells as tasks of Dask's workers, whose records come back as events."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue
from typing import Any
from uuid import uuid4

import dask
import distributed

from bnsbench.plugin import Cell, Job, Ledger, Message, Record, RunListener, UsageError, deal, one_line, run_and_tell

WORKERS_LOAD = "bnsbench_dask.interrupts"
POLL = 0.2
"""Seconds between two looks at what workers have told."""


def work(topic: str, name: str, pickled: bytes, shared: bool) -> None:
    """Run pickled cells with the run's settings on a worker, until nobody waits for the task any more.

    Dask gives out a lost worker's task again by itself, and would run all of its cells: the second one ends at once.
    """
    begun = distributed.Event(name)
    if begun.is_set():
        return
    begun.set()
    cells, job = pickle.loads(pickled)  # noqa: S301 (from the run that has submitted it)
    worker = distributed.get_worker()
    task = worker.state.tasks[name]

    def send(message: Message) -> None:
        worker.log_event(topic, pickle.dumps(message))

    run_and_tell(cells, job, send, shared=shared, wanted=lambda: task.state == "executing")


@dataclass(frozen=True)
class DaskExecutor:
    """Runs cells on the workers of a Dask cluster, one after the other on each thread of a worker.

    address: of a scheduler; "" starts workers on this machine.
    workers: how many of these; 0 for one for each core.
    tasks: into how many the cells are divided at most; 0 for one for each field, and no fewer than there are threads.
    device: of every worker, such as "cuda:0" on workers of dask-cuda; "" for the run's.
    shared: whether workers see the run's results folder and cache; if not, solvers and previews are sent back.
    attempts: how often a cell whose worker was lost may have begun before it is a failed one.
    """

    address: str = ""
    workers: int = 0
    tasks: int = 0
    device: str = ""
    shared: bool = True
    attempts: int = 3

    def __post_init__(self) -> None:
        if min(self.tasks, self.workers) < 0 or self.attempts < 1:
            raise UsageError("The executor 'dask' needs at least one attempt, and no negative numbers of workers and tasks.")

    def execute(self, cells: Sequence[Cell], job: Job, listener: RunListener) -> Iterator[tuple[Cell, Record]]:
        """Run the cells; arguments as of `bnsbench.plugin.Executor.execute`. When it is closed, its tasks are cancelled."""
        ledger, heard = Ledger(cells, job, listener, self.attempts), SimpleQueue[bytes]()
        there, topic = replace(job, device=self.device or job.device), f"bnsbench-{uuid4().hex}"
        with self._client() as client:
            client.subscribe_topic(topic, lambda event: heard.put(event[1]))

            def submit(part: tuple[Cell, ...]) -> Any:
                name = f"{topic}-{uuid4().hex}"
                return client.submit(work, topic, name, pickle.dumps((part, there)), self.shared, key=name)

            count = self.tasks or max(len({cell.field_digest for cell in cells}), sum(client.nthreads().values()))
            running = {submit(part): part for part in deal(cells, count)}
            try:
                while running:
                    ended = [each for each in running if each.done()]  # before all that they have told is heard
                    for message in _all(heard):
                        yield from ledger.hear(message)
                    for each in ended:
                        how = one_line(each.exception()) if each.status == "error" else "a worker of Dask has ended"
                        again, failed = ledger.lost(running.pop(each), how)
                        yield from failed
                        running |= {submit(again): again} if again else {}
            finally:
                client.cancel(list(running))
                client.unsubscribe_topic(topic)

    @contextmanager
    def _client(self) -> Iterator[distributed.Client]:
        """Connect to the scheduler, or to a cluster on this machine that no other can reach."""
        if self.address:
            try:
                client = distributed.Client(self.address, set_as_default=False)
            except (OSError, ValueError) as error:
                raise UsageError(f"There is no scheduler of Dask at {self.address} ({one_line(error)}).") from error
            with client:
                yield client
            return
        here = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0", "n_workers": self.workers or None}
        with (
            dask.config.set({"distributed.worker.daemon": False}),
            distributed.LocalCluster(**here, threads_per_worker=1, memory_limit=0, preload=WORKERS_LOAD) as cluster,
            distributed.Client(cluster, set_as_default=False) as client,
        ):
            yield client


def _all(heard: SimpleQueue[bytes]) -> Iterator[Message]:
    """Yield the messages that are there, and wait a moment for another."""
    with suppress(Empty):
        while True:
            yield pickle.loads(heard.get(timeout=POLL))  # noqa: S301 (from the run's own workers)
