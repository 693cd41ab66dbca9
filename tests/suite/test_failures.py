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


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_full_disk_ends_the_run(tmp_path, number):
    with pytest.raises(StorageError, match=f"The cache folder {tmp_path} cannot be written .*make room there"):
        raise_if_disk_is_full(OSError(number, os.strerror(number)), tmp_path)


def test_a_full_disk_is_known_by_its_words_where_a_library_has_wrapped_it(tmp_path):
    with pytest.raises(StorageError):
        raise_if_disk_is_full(RuntimeError("I/O error: No space left on device (os error 28)"), tmp_path)


@pytest.mark.parametrize("error", [OSError(errno.ENOENT, "gone"), ValueError("space"), SystemExit(1)])
def test_any_other_error_is_the_cell_s_own(tmp_path, error):
    raise_if_disk_is_full(error, tmp_path)
