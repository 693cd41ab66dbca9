"""Locks between processes, for what one of them makes and all of them use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

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
    with cache_errors(cache):
        make_folder(lock.parent)
        held.acquire()
    try:
        yield
    finally:
        held.release()
