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
