"""Errors of cells: the sentence that is recorded, and the cell's status."""

from __future__ import annotations

import errno
import traceback
from pathlib import Path

from bnsbench.errors import BnsbenchError, DivergedError, NotApplicableError, one_line
from bnsbench.suite.record import Status
from bnsbench.suite.store import StorageError


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
    """Raise StorageError if the ground truth's cache cannot be written: every further cell would fail in the same way."""
    full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
    if full or "No space left on device" in str(error):
        raise StorageError(
            f"The cache folder {cache} cannot be written ({error}); finished cells are kept: make room there."
        ) from error
