"""How a process computes on the CPU: what it does with freed memory, and how its threads wait for each other."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress

_TRIM_THRESHOLD, _MAP_THRESHOLD = -1, -3
"""Names of the two in glibc's malloc.h."""
_LARGE = 2**30
"""Blocks from this size on, in bytes, go back to the system at once."""


def keep_freed_memory() -> None:
    """Let the C library keep what tensors free for the next ones; nothing happens where it is not glibc.

    By default it hands every block of more than a few megabytes back to the system, and pays for fresh zeroed pages at the
    next one, which is a tenth of the time of training a network on the CPU.
    """
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(_MAP_THRESHOLD, _LARGE)
        library.mallopt(_TRIM_THRESHOLD, _LARGE)


def sleep_while_waiting() -> None:
    """Let threads that wait for each other sleep, unless ``OMP_WAIT_POLICY`` is set; call it before torch is imported.

    By default they spin, which beside other programs made a training on two cores five times slower than on one.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
