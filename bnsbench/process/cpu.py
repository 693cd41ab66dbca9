"""Settings of the process for speed on the CPU: freed memory, threads that wait for each other, and collection."""

from __future__ import annotations

import ctypes
import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_TRIM_THRESHOLD, _MAP_THRESHOLD = -1, -3
"""Names of the two in glibc's malloc.h."""
_LARGE = 2**30
"""Blocks from this size on, in bytes, go back to the system at once."""

SPINS = "1000"
"""Turns for which a thread of libgomp waits awake, instead of 300,000."""


def keep_freed_memory() -> None:
    """Let the C library keep what tensors free for the next ones; nothing happens where it is not glibc.

    By default it hands every block of more than a few megabytes back to the system, and pays for fresh zeroed pages at the
    next one, which is a tenth of the time of training a network on the CPU.
    """
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(_MAP_THRESHOLD, _LARGE)
        library.mallopt(_TRIM_THRESHOLD, _LARGE)


def wait_briefly() -> None:
    """Let threads that wait for each other fall asleep after microseconds, unless the environment says how they wait.

    To be called before torch is imported. By default they spin for milliseconds: beside other programs that made a training
    on two cores take 2.3 times as long, where an idle machine loses a tenth by this.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)


@contextmanager
def collection_paused() -> Iterator[None]:
    """Pause the search for objects that refer to each other in circles.

    While hundreds of thousands of records are made, which are in no circle, it looks through all of them again and again.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
