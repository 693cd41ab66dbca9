"""What the package offers to bnsbench; importing this imports neither torch nor Dask."""

from __future__ import annotations

from collections.abc import Iterator

from bnsbench.plugin import ExecutorSpec, hookimpl
from bnsbench_dask import __version__


@hookimpl
def bnsbench_executors() -> Iterator[ExecutorSpec]:
    """Yield the executor."""
    yield ExecutorSpec(
        name="dask",
        target="bnsbench_dask.executor:DaskExecutor",
        summary="Cells on the workers of a Dask scheduler, or of a cluster on this machine.",
        version=__version__,
        parameters={"address": "", "workers": 0, "tasks": 0, "device": "", "shared": True, "attempts": 3},
    )
