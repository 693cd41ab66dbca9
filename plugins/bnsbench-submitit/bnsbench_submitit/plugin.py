"""What the package offers to bnsbench; importing this imports neither torch nor submitit."""

from __future__ import annotations

from collections.abc import Iterator

from bnsbench.plugin import ExecutorSpec, hookimpl
from bnsbench_submitit import __version__


@hookimpl
def bnsbench_executors() -> Iterator[ExecutorSpec]:
    """Yield the executor."""
    yield ExecutorSpec(
        name="submitit",
        target="bnsbench_submitit.executor:SubmititExecutor",
        summary="Cells as jobs of a Slurm array, requeued where they were.",
        version=__version__,
        parameters={
            "jobs": 8,
            "minutes": 240,
            "gpus": 0,
            "cpus": 1,
            "memory": 0,
            "partition": "",
            "account": "",
            "qos": "",
            "folder": "",
            "cluster": "",
            "attempts": 3,
        },
    )
