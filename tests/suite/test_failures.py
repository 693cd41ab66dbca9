"""How the errors of cells are told, and what they make of the cell."""

from __future__ import annotations

import errno
import os

import pytest

from bnsbench.errors import BnsbenchError, CorruptFileError, DivergedError, NotApplicableError, UsageError
from bnsbench.suite.failures import CellTimeoutError, describe, raise_if_disk_is_full, status_of
from bnsbench.suite.store import StorageError


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (NotApplicableError("no guidance"), "skipped"),
        (DivergedError("3 of 4 samples"), "diverged"),
        (CellTimeoutError("too long"), "timeout"),
        (UsageError("no such file"), "failed"),
        (CorruptFileError("damaged"), "failed"),
        (ZeroDivisionError("by zero"), "failed"),
        (SystemExit(3), "failed"),
    ],
)
def test_every_error_has_its_status(error, status):
    assert status_of(error) == status


def test_a_sentence_of_ours_stays_and_becomes_one_line():
    assert describe(BnsbenchError("The file\n  is   gone.")) == "The file is gone."


def test_any_other_error_is_told_with_its_type_and_place():
    with pytest.raises(ValueError, match="weights") as caught:
        raise ValueError("weights\nof it")
    line = caught.tb.tb_lineno
    assert describe(caught.value) == f"ValueError: weights of it (test_failures.py, line {line})"
    assert describe(ValueError("never raised")) == "ValueError: never raised"


UNWRITABLE = [
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.ENOTDIR, errno.EFBIG),
]


@pytest.mark.parametrize("number", UNWRITABLE, ids=errno.errorcode.get)
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_cache_that_cannot_be_written_ends_the_run(tmp_path, number, wrapped):
    error: Exception = OSError(number, os.strerror(number), str(tmp_path / "pairs" / "x"))
    if wrapped:
        cause, error = error, BnsbenchError("the network cannot be kept")
        error.__cause__ = cause
    with pytest.raises(StorageError, match=f"The cache folder {tmp_path} cannot be written .*make room there"):
        raise_if_disk_is_full(error, tmp_path)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("I/O error: No space left on device (os error 28)"),
        OSError("No space left on device"),
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.ENOSPC, "No space left on device", "/elsewhere/x"),
        OSError(errno.EACCES, "Permission denied", 3),
        OSError(errno.ENOENT, "gone"),
        ValueError("space"),
        SystemExit(1),
    ],
    ids=repr,
)
def test_any_other_error_is_the_cell_s_own_whatever_it_says(tmp_path, error):
    raise_if_disk_is_full(error, tmp_path)


def test_an_absent_file_of_the_cache_is_the_cell_s_own(tmp_path):
    raise_if_disk_is_full(FileNotFoundError(errno.ENOENT, "gone", str(tmp_path / "x")), tmp_path)
