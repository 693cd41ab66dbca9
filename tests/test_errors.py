"""Errors: one base class, exit codes, and what the command line makes of each."""

from __future__ import annotations

import pytest

from bnsbench import errors
from bnsbench.errors import BnsbenchError, CorruptFileError, DivergedError, NotApplicableError, UsageError


@pytest.mark.parametrize(
    ("kind", "exit_code"),
    [(BnsbenchError, 1), (UsageError, 2), (NotApplicableError, 1), (DivergedError, 1), (CorruptFileError, 1)],
)
def test_exit_codes(kind, exit_code):
    assert issubclass(kind, BnsbenchError)
    assert kind("reason").exit_code == exit_code


def test_every_error_is_one_that_the_command_line_knows():
    kinds = [thing for thing in vars(errors).values() if isinstance(thing, type) and issubclass(thing, Exception)]
    assert len(kinds) >= 5
    assert all(issubclass(kind, BnsbenchError) for kind in kinds)


def test_the_text_is_the_message():
    assert str(UsageError("what, where, what to do")) == "what, where, what to do"


@pytest.mark.parametrize(
    ("error", "plain", "whole"),
    [
        (ValueError("no\n  such\tthing. "), "no such thing", "no such thing."),
        (UsageError("Did you mean 'bns'?"), "Did you mean 'bns'?", "Did you mean 'bns'?"),
        (RuntimeError(), "", ""),
    ],
)
def test_messages_on_one_line(error, plain, whole):
    assert errors.one_line(error) == plain
    assert errors.one_line(error, full_stop=True) == whole
