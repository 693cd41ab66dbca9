"""The faults that a user can mend: each message is one sentence that says what, where and what to do."""

from __future__ import annotations


class BnsbenchError(Exception):
    """A fault that the user can mend; the command line prints its text without a traceback and exits with 1."""

    exit_code = 1


class UsageError(BnsbenchError):
    """Input that cannot be meant: an unknown name, a budget of zero, a malformed file; exit code 2."""

    exit_code = 2


class NotApplicableError(BnsbenchError):
    """A component that does not fit a cell, such as a two-stage rule at an odd NFE; the cell is skipped for this reason."""


class DivergedError(BnsbenchError):
    """A sampler whose states left the finite numbers; the cell is recorded as diverged with this reason."""


class CorruptFileError(BnsbenchError):
    """A file whose content does not match its recorded hash or schema."""


def one_line(error: object, *, full_stop: bool = False) -> str:
    """Return the message of an error, whoever raised it, on one line, to be put into a sentence.

    Args:
        error: The error, or a text.
        full_stop: Whether a full stop at its end stays.
    """
    text = " ".join(str(error).split())
    return text if full_stop else text.rstrip(".")
