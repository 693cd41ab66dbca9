"""The executor "submitit": cells as jobs of a Slurm array, whose records come back through a shared folder."""

from __future__ import annotations

import pickle
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from pathlib import Path
from typing import Any
from uuid import uuid4

import submitit

from bnsbench.plugin import Cell, Job, Ledger, Mailbox, Record, RunListener, UsageError, deal

POLL = 0.5
"""Seconds between two looks at the mailbox."""
REQUEUES = 100
"""How often a job that its time limit has ended goes on; each of them does some work."""


class Work:
    """What each job of the array runs; submitit asks for the checkpoint when it is to be requeued."""

    def __call__(self, folder: Path, workers: int, pickled: bytes) -> None:
        cells, job = pickle.loads(pickled)  # noqa: S301 (from the run that has submitted it)
        Mailbox(folder).run(cells, job, workers)

    def checkpoint(self, *arguments: Any) -> submitit.helpers.DelayedSubmission:
        return submitit.helpers.DelayedSubmission(self, *arguments)


@dataclass(frozen=True)
class SubmititExecutor:
    """Runs cells as the jobs of a Slurm array; results folder and cache have to be on a disk that all machines share.

    jobs: at most. minutes, gpus, cpus, memory (in GB): of each; a worker process for every GPU, else for every CPU.
    partition, account, qos: of Slurm; "" for its default.
    folder: for logs and messages; "" for ``.submitit`` in the run's results.
    cluster: "slurm", "local" for processes of this machine, or "" for what there is.
    attempts: how often a cell whose job was lost may have begun before it is a failed one.
    """

    jobs: int = 8
    minutes: int = 240
    gpus: int = 0
    cpus: int = 1
    memory: int = 0
    partition: str = ""
    account: str = ""
    qos: str = ""
    folder: str = ""
    cluster: str = ""
    attempts: int = 3

    def __post_init__(self) -> None:
        if min(self.jobs, self.minutes, self.cpus, self.attempts) < 1 or min(self.gpus, self.memory) < 0:
            raise UsageError("The executor 'submitit' needs at least one job, minute, CPU and attempt.")
        if self.cluster not in ("", "slurm", "local"):
            raise UsageError(f"The executor 'submitit' knows the clusters slurm and local, not {self.cluster!r}.")

    def execute(self, cells: Sequence[Cell], job: Job, listener: RunListener) -> Iterator[tuple[Cell, Record]]:
        """Run the cells; arguments as of `bnsbench.plugin.Executor.execute`. When it is closed, its jobs are cancelled."""
        folder = Path(self.folder or job.store.folder / ".submitit").absolute()
        ledger, mailbox = Ledger(cells, job, listener, self.attempts), Mailbox(folder / f"messages-{uuid4().hex}")
        array, workers = self._array(folder), self.gpus or self.cpus
        there = replace(job, device="cuda" if self.gpus else "cpu")

        def submit(parts: Sequence[tuple[Cell, ...]]) -> dict[Any, tuple[Cell, ...]]:
            pickled = [pickle.dumps((part, there)) for part in parts]
            jobs = array.map_array(Work(), repeat(mailbox.folder), repeat(workers), pickled)
            return dict(zip(jobs, parts, strict=True))

        running = submit(deal(cells, self.jobs))
        listener.notice(f"{len(running)} jobs have been submitted; their logs are in {folder}.")
        try:
            while running:
                ended = [each for each in running if each.done()]  # before reading, so that all they have told is there
                for message in mailbox.read():
                    yield from ledger.hear(message)
                for each in ended:
                    again, failed = ledger.lost(running.pop(each), f"job {each.job_id} ended as {each.state}")
                    yield from failed
                    running |= submit([again]) if again else {}
                time.sleep(POLL)
        finally:
            for each in running:
                each.cancel(check=False)
            shutil.rmtree(mailbox.folder, ignore_errors=True)

    def _array(self, folder: Path) -> submitit.AutoExecutor:
        array = submitit.AutoExecutor(
            folder, self.cluster or None, slurm_max_num_timeout=REQUEUES, local_max_num_timeout=REQUEUES
        )
        slurm = {"partition": self.partition, "account": self.account, "qos": self.qos, "array_parallelism": self.jobs}
        array.update_parameters(
            name="bnsbench",
            timeout_min=self.minutes,
            gpus_per_node=self.gpus or None,
            cpus_per_task=self.cpus,
            mem_gb=self.memory or None,
            **{f"slurm_{name}": value for name, value in slurm.items() if value},
        )
        return array
