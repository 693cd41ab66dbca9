"""How the errors of cells are told, and what they make of the cell."""

from __future__ import annotations

import errno
import os

import pytest
import torch

from bnsbench.errors import (
    BnsbenchError,
    CorruptFileError,
    DivergedError,
    NotApplicableError,
    UsageError,
    raised_by,
    raiser_of,
)
from bnsbench.storage.tensors import write_tensors
from bnsbench.suite.failures import (
    CellTimeoutError,
    ContainedError,
    contained,
    describe,
    raise_if_disk_is_full,
    status_of,
)
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


class Silent(Exception):  # noqa: N818
    def __str__(self):
        raise RuntimeError


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (Silent(), "Silent: its text cannot be told"),
        (ValueError("a \udcff"), "ValueError: a \\udcff"),
        (ValueError("x" * 10_000), f"ValueError: {'x' * 2000} ..."),
        (type("Odd", (Exception,), {"__str__": lambda self: 3})(), "Odd: its text cannot be told"),
        (BnsbenchError("a \udcff"), "a \\udcff"),
    ],
)
def test_errors_that_cannot_be_printed_are_told(error, told):
    assert describe(error) == told
    describe(error).encode()


def test_a_full_disk_that_a_component_tells_of_is_its_own_affair(tmp_path):
    error = OSError(errno.ENOSPC, "full")
    with pytest.raises(OSError, match="full"), raised_by("solver"):
        raise error
    raise_if_disk_is_full(error, tmp_path)


def test_a_full_disk_under_a_component_ends_the_run(tmp_path, monkeypatch):
    """A trainer asks for pairs, which are kept in the cache."""

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr("bnsbench.storage.tensors.save_file", full)
    with pytest.raises(StorageError):  # noqa: PT012
        try:
            with raised_by("solver"):
                write_tensors(tmp_path / "pairs", {"x": torch.ones(1)})
        except OSError as error:
            raise_if_disk_is_full(error, tmp_path)


def test_the_innermost_component_is_named():
    with pytest.raises(ValueError, match="no") as caught, raised_by("solver"), raised_by("model"):
        raise ValueError("no")
    assert raiser_of(caught.value) == "model"
    assert raiser_of(ValueError()) is None


@pytest.mark.parametrize("error", [SystemExit(0), KeyboardInterrupt(), BaseException("base"), UsageError("wrong")])
def test_whatever_a_component_raises_is_contained(error):
    with pytest.raises(ContainedError) as caught, contained():
        raise error
    assert caught.value.__cause__ is error


def test_what_cannot_be_written_is_not_contained():
    with pytest.raises(StorageError), contained():
        raise StorageError("full")
