"""Errors of cells: the sentence that is recorded, and the cell's status."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bnsbench.contract.sources import BUILTIN
from bnsbench.errors import BnsbenchError, DivergedError, NotApplicableError, forget_raiser, one_line, raiser_of, with_place
from bnsbench.process.interrupts import exits_refused, interrupts_told
from bnsbench.process.surroundings import guarded
from bnsbench.storage.files import StorageError, cache_errors
from bnsbench.suite.plan import Cell, Component
from bnsbench.suite.record_shape import Status

OVERTIME = "it took longer than the suite's timeout"


class FaultyMetricsError(BnsbenchError):
    """What several metrics have done, each told with its name."""

    def __init__(self, faults: Sequence[str]) -> None:
        """Join what was told of each."""
        super().__init__("; ".join(faults))
        self.told = "; ".join(faults)


class CellTimeoutError(BaseException):
    """A cell that took longer than the suite allows; no `Exception`, for many components swallow all of these."""

    def __init__(self, text: str = OVERTIME) -> None:
        super().__init__(text)


class ContainedError(BnsbenchError):
    """Whatever a component has raised, where the run goes on without it; its cause is what was raised."""


@contextmanager
def contained() -> Iterator[None]:
    """Let a component take nothing along: what it prints goes to stderr, and what it changes in the process is put back.

    Raises:
        ContainedError: In place of whatever it raises.
        StorageError: If what it keeps cannot be written.
        KeyboardInterrupt: If the user has asked for it.
    """
    with guarded(), exits_refused(), interrupts_told() as interrupts:
        try:
            yield
        except StorageError:
            raise
        except BaseException as error:
            if interrupts.by_user(error):
                raise
            raise ContainedError(describe(error)) from error


def status_of(error: BaseException) -> Status:
    """Return the status of a cell that ended with this error."""
    if isinstance(error, NotApplicableError):
        return "skipped"
    if isinstance(error, DivergedError):
        return "diverged"
    return "timeout" if isinstance(error, CellTimeoutError) else "failed"


def describe(error: BaseException) -> str:
    """Return an error as one line: a sentence of bnsbench as it is, anything else with its type and place."""
    if isinstance(error, FaultyMetricsError):
        return error.told
    if isinstance(error, BnsbenchError | CellTimeoutError):
        return one_line(error, full_stop=True)
    return with_place(error, full_stop=True)


def told_of(error: BaseException, component: Component, kind: str) -> str:
    """Return what a component has done as a sentence that names it, and its plugin unless it is built in.

    Args:
        error: What it has raised, or what has been found of what it has returned or done.
        component: The component.
        kind: What it is, such as "solver".
    """
    said, sentence = describe(error), isinstance(error, BnsbenchError)
    return f"{named(component, kind)}{':' if sentence else ' raised'} {said}"


def named(component: Component, kind: str) -> str:
    """Return a component by its kind and name, with its plugin unless it is built in."""
    plugin = "" if component.provider == BUILTIN else f" of the plugin {component.provider}"
    return f"the {kind} {component.shown}{plugin}"


def reason_of(error: BaseException, cell: Cell) -> str:
    """Return why a cell has no result; where a component has failed, with its name."""
    raiser = raiser_of(error)
    forget_raiser(error)
    if status_of(error) != "failed":
        return describe(error)
    if raiser == "model":
        return told_of(error, cell.model, "model")
    return told_of(error, cell.solver, "solver") if raiser == "solver" else describe(error)


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
