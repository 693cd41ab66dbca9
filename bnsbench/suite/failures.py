"""Errors of cells: the sentence that is recorded, and the cell's status."""

from __future__ import annotations

import errno
import os
import traceback
from pathlib import Path

from bnsbench.errors import BnsbenchError, DivergedError, NotApplicableError, one_line
from bnsbench.storage.files import cache_errors
from bnsbench.suite.record import Status


class CellTimeoutError(BnsbenchError):
    """A cell that took longer than the suite allows."""


def status_of(error: BaseException) -> Status:
    """Return the status of a cell that ended with this error."""
    if isinstance(error, NotApplicableError):
        return "skipped"
    if isinstance(error, DivergedError):
        return "diverged"
    return "timeout" if isinstance(error, CellTimeoutError) else "failed"


def describe(error: BaseException) -> str:
    """Return an error as one line: a sentence of bnsbench as it is, anything else with its type and place."""
    text = one_line(error, full_stop=True)
    if isinstance(error, BnsbenchError):
        return text
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {text}{place}"


def raise_if_disk_is_full(error: BaseException, cache: Path) -> None:
    """Raise StorageError if a file in the cache cannot be written: every further cell would fail in the same way.

    What an error says decides nothing, only the file that it names: a plugin may say anything, and may fill another disk.
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in UNWRITABLE and _lies_in(seen.filename, cache):
            with cache_errors(cache):
                raise seen
        seen = seen.__cause__


UNWRITABLE = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EFBIG, errno.EIO),
}
"""What systems say of a file that cannot be written."""


def _lies_in(file: object, folder: Path) -> bool:
    if not isinstance(file, str | os.PathLike):
        return False
    return Path(os.path.abspath(folder)) in Path(os.path.abspath(file)).parents  # noqa: PTH100 (links are left as they are)
