"""Names of files, and writing them whole or not at all, so that no reader finds a file that an interrupt has cut off.

A file is written under a temporary name beside its place, ``.NAME.HOST.RANDOM.tmp``, which no other process can have, also
where containers share a folder. Its writer holds a lock on it, which ends with the process, and flushes it and its folder to
the disk. A killed writer leaves the temporary file; `remove_leftovers` removes those that nobody holds any more.
"""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import os
import platform
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from bnsbench.errors import BnsbenchError

fcntl: Any = importlib.import_module("fcntl") if importlib.util.find_spec("fcntl") else None
"""The module of locks on files, None on systems that have none of this kind."""

OLD = 86_400.0
"""Seconds after which a temporary file that nobody holds is left over, whoever wrote it."""

TEMPORARY = re.compile(r"\..+\.([0-9a-f]{8})\.[0-9a-f]{16}\.tmp|\..+\.[0-9]+\.tmp")
"""Names of temporary files: the present ones with their host, and those of earlier versions."""

UNSUPPORTED = (errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EPERM, errno.EBADF, errno.EISDIR)
"""What systems say that cannot flush a folder, or do not let us open it."""


class StorageError(BnsbenchError):
    """A folder that cannot be written: the run ends, and what is finished stays."""


@contextmanager
def replacing(target: Path, flush: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside ``target``, of this call alone, whose file becomes ``target`` if nothing is raised.

    Folders are made as needed. Whatever is raised, ``target`` stays as it was and the temporary file is removed; OSError
    where the disk refuses.

    Args:
        target: The file to write.
        flush: Whether the file and its folder are flushed to the disk; if not, a power cut may cost both versions.
    """
    make_folder(target.parent)
    temporary = target.with_name(f".{target.name}.{_host()}.{secrets.token_hex(8)}.tmp")
    try:
        with _held(temporary):
            yield temporary
            if flush:
                _flush(temporary)
            temporary.replace(target)
        if flush:
            _flush_folder(target.parent)
    except OSError as error:
        if (
            error.filename is None and error.errno is not None
        ):  # of writing to an open file: whoever catches it wants to know which
            error.filename = str(target)
        raise
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def cache_errors(folder: Path) -> Iterator[None]:
    """Turn an OSError of writing into a cache into a StorageError: whatever wants to be kept there would fail likewise."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"The cache folder {folder} cannot be written ({error.strerror or error}); what is finished is kept: make room"
            " there, or name another folder by BNSBENCH_CACHE."
        ) from error


def try_cache(folder: Path) -> None:
    """Raise StorageError unless files can be written into a cache folder, which is made if there is none."""
    file = folder / f"{secrets.token_hex(8)}.trial"
    with cache_errors(folder):
        try:
            with replacing(file) as temporary:
                temporary.write_bytes(b"x")
        finally:
            file.unlink(missing_ok=True)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, flushed to the disk, unless it is there; OSError if that is not possible."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    _flush_folder(folder.parent)


def make_way(target: Path) -> None:
    """Set a folder aside that lies where a file is to be written; an empty one is removed."""
    if target.is_dir() and not target.is_symlink():
        try:
            target.rmdir()
        except OSError:
            set_aside(target)


def set_aside(file: Path) -> None:
    """Give a file or folder, if there is one, a hidden name beside its own."""
    with suppress(FileNotFoundError):
        file.rename(file.with_name(f".{file.name}.{secrets.token_hex(8)}.aside"))


def remove_leftovers(folder: Path) -> list[Path]:
    """Remove the temporary files of killed processes below a folder, and return them.

    A file goes only if its name is one of ours and no process holds it; and if another host wrote it (containers are hosts
    of their own), or the system has no locks, only if it has also been unchanged for a day, for not every shared disk
    tells of the locks of others.
    """
    found = sorted(file for file in folder.rglob(".*.tmp") if TEMPORARY.fullmatch(file.name)) if folder.is_dir() else []
    return [file for file in found if _removed(file)]


def name_of(text: str) -> str:
    """Return the text as a part of a file name: letters, digits and ``._=+-``, at most 120 of them."""
    return re.sub(r"[^A-Za-z0-9._=+-]+", "-", text).replace("-_", "_").strip("-")[:120]


@cache
def _host() -> str:
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]


@contextmanager
def _held(file: Path) -> Iterator[None]:
    """Make a file and hold it, where the system has locks, until the end of the block or of the process."""
    descriptor = _claimed(file) if fcntl is not None else None
    try:
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _claimed(file: Path) -> int:
    """Make a file and return a descriptor that holds it."""
    while True:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        _lock(descriptor, wait=True)
        with suppress(OSError):
            # Between making it and holding it, another process may have taken it for a leftover.
            if os.path.samestat(os.fstat(descriptor), file.stat()):
                return descriptor
        os.close(descriptor)


def _lock(descriptor: int, wait: bool = False) -> bool | None:
    """Return whether the file is ours now, None where the system has no locks for it."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        return False if error.errno in (errno.EAGAIN, errno.EACCES) else None
    return True


def _removed(file: Path) -> bool:
    """Remove a temporary file if it is left over, and return whether it was."""
    named = TEMPORARY.fullmatch(file.name)
    try:
        if not file.is_file() or file.is_symlink():
            return False
        descriptor = os.open(file, os.O_RDWR)
    except OSError:
        return False
    try:
        ours = _lock(descriptor)
        near = ours is True and named is not None and named[1] == _host()
        if ours is False or not (near or time.time() - os.fstat(descriptor).st_mtime > OLD):
            return False
        file.unlink()
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def _flush(file: Path) -> None:
    """Flush a file to the disk, by whatever descriptor it was written."""
    descriptor = os.open(file, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _flush_folder(folder: Path) -> None:
    """Flush the names in a folder to the disk, where the system can."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
