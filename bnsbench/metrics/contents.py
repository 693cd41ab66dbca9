"""Hashes of the files that metrics depend on: their weights, their networks, their real samples."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from bnsbench.errors import UsageError

State = tuple[int, int]
"""Of a file: its size in bytes and when it was last changed, in nanoseconds."""


def files_fingerprint(metric: object) -> str:
    """Return the hash of the files that a metric depends on; "" if there are none, or the metric has no ``fingerprint()``.

    That method has to change with the content of any of the files, and to be quick, because it is called often.
    """
    fingerprint = getattr(metric, "fingerprint", None)
    return str(fingerprint()) if callable(fingerprint) else ""


def state_of(file: Path) -> State:
    """Return the state of a file; UsageError if it is not there."""
    try:
        found = file.stat()
    except OSError as error:
        raise UsageError(f"The file {file} cannot be read: {error.strerror or error}.") from error
    return found.st_size, found.st_mtime_ns


def content_hash(source: Path, files: Sequence[Path]) -> str:
    """Return the SHA-256 of a file, or of the names, sizes and contents of files in a folder.

    It is computed once in a process while sizes and times of the files stay as they are.

    Args:
        source: The file or folder.
        files: The file alone, or those in the folder.

    Raises:
        UsageError: If a file cannot be read.
    """
    return _hash(source, tuple((file, state_of(file)) for file in files))


def joint_hash(parts: Mapping[str, str]) -> str:
    """Return one hash of several, by the names of what they are hashes of; "" if all are empty."""
    said = [f"{name} {found}" for name, found in sorted(parts.items()) if found]
    return hashlib.sha256("\n".join(said).encode()).hexdigest() if said else ""


@lru_cache(maxsize=16)
def _hash(source: Path, files: tuple[tuple[Path, State], ...]) -> str:
    digest = hashlib.sha256()
    folder = source.is_dir()
    for file, (size, _) in files:
        if folder:
            digest.update(f"{file.relative_to(source).as_posix()}\0{size}\0".encode())
        try:
            with file.open("rb") as content:
                while part := content.read(1 << 20):
                    digest.update(part)
        except OSError as error:
            raise UsageError(f"The file {file} cannot be read: {error.strerror or error}.") from error
    return digest.hexdigest()
