"""Streams that show control characters as text."""

from __future__ import annotations

import contextlib
import io
import sys
from typing import Any

import pytest

from bnsbench.process.shown import ShownStream, for_colours, shown_streams, spell_out_streams


@pytest.fixture
def own(monkeypatch):
    """Return a function that sets and returns stdout and stderr; pytest sets its own between a fixture and its test."""
    return lambda: replaced(monkeypatch)


def replaced(monkeypatch):
    found = []
    for name in ("stdout", "stderr"):
        stream = io.StringIO()
        for place in (name, f"__{name}__"):
            monkeypatch.setattr(sys, place, stream)
        found.append(stream)
    return found


def test_control_characters_are_written_as_text(own):
    streams = own()
    with shown_streams():
        print("a\x1b[31m\tb")  # noqa: T201
        sys.stderr.writelines(["\x9b", "\u202e\n"])
        assert sys.stdout.write("\x07") == 1
        assert sys.stdout is sys.__stdout__
        stdout: Any = sys.stdout
        for_colours(stdout).write("\x1b[1m")
    assert streams[0].getvalue() == "a\\x1b[31m\tb\n\\x07\x1b[1m"
    assert streams[1].getvalue() == "\\x9b\\u202e\n"
    assert (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__) == (*streams, *streams)


def test_streams_are_given_back_whatever_happens(own):
    streams = own()
    with contextlib.suppress(ValueError), shown_streams(), shown_streams():
        print("\x1b")  # noqa: T201
        raise ValueError("gone")
    assert streams[0].getvalue() == "\\x1b\n"
    assert sys.stdout is streams[0]


def test_a_stream_that_is_not_there_stays_so(monkeypatch, own):
    own()
    monkeypatch.setattr(sys, "stdout", None)
    spell_out_streams()
    assert sys.stdout is None
    assert isinstance(sys.stderr, ShownStream)


def test_it_is_a_stream_of_text_in_all_else():
    stream: Any = ShownStream(io.TextIOWrapper(io.BytesIO(), encoding="latin-1"))
    assert stream.encoding == "latin-1"
    assert not stream.isatty()
    assert for_colours(stream) is stream.below
    with pytest.raises((TypeError, AttributeError)):
        stream.write(b"bytes")
