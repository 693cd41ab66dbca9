"""Locks between processes, for what one of them makes and all of them use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from bnsbench.storage.files import cache_errors, make_folder


@contextmanager
def alone(lock: Path, cache: Path) -> Iterator[None]:
    """Let one process at a time run the block; the others wait.

    Args:
        lock: The file that stands for it, in a cache folder, which is made if there is none.
        cache: The folder that an error names.

    Raises:
        StorageError: If the folder cannot be written.
    """
    held = FileLock(lock)
    _acquire(held, lock.parent, cache)
    try:
        yield
    finally:
        held.release()


@contextmanager
def if_free(lock: Path, cache: Path) -> Iterator[bool]:
    """Hold a lock in the block if no process has it, and tell whether that is so; its file goes with the block.

    A process that comes for a lock in the moment when its file goes may find it free, too: what the block does must be right
    even if two do it.

    Args:
        lock: The file that stands for it, in a cache folder, which is made if there is none.
        cache: The folder that an error names.

    Raises:
        StorageError: If the folder cannot be written.
    """
    held = FileLock(lock)
    free = _acquire(held, lock.parent, cache, timeout=0)
    try:
        yield free
    finally:
        if free:
            lock.unlink(missing_ok=True)
            held.release()


def _acquire(held: FileLock, folder: Path, cache: Path, timeout: float = -1) -> bool:
    """Take a lock in a folder that is made if there is none, and tell whether it came in time, which below 0 is for ever."""
    with cache_errors(cache):
        make_folder(folder)
        try:
            held.acquire(timeout=timeout)
        except Timeout:
            return False
    return True
