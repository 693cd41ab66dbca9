"""What a worker of this machine's own cluster loads first: Ctrl-C reaches it, too, but is for the run to answer."""

from __future__ import annotations

import signal


def dask_setup(worker: object) -> None:  # noqa: ARG001 (Dask's name, and its argument)
    """Ignore interrupts; the run ends its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
