"""Standard output for results alone: what components print goes to stderr, also past Python's streams."""

from __future__ import annotations

import atexit
import ctypes
import io
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from bnsbench.process.deadline import uninterrupted

_NAMES = ("stdin", "stdout", "stderr")
Kept = tuple[dict[int, int], dict[str, Any]]
"""Copies of the file descriptors 0 to 2, and Python's streams by name."""

SHIELDS = 64
"""Shields that are held; a run needs a few."""

_kept: list[Kept] = []
_shields: dict[tuple[int, int], Shield] = {}
_owner: int | None = None
"""The thread whose components print to stderr; the streams belong to the whole process."""


class Shield(io.TextIOBase):
    """A stream that writes to another and that nobody can close.

    Args:
        target: Where the text goes.
        descriptor: The number that the stream gives as its own.
    """

    def __init__(self, target: Any, descriptor: int) -> None:
        self._target = target
        self._descriptor = descriptor

    def write(self, text: str, /) -> int:
        if not isinstance(text, str):  # by which click knows streams of bytes
            raise TypeError(f"a text is written, not {type(text).__name__}")
        with suppress(ValueError, AttributeError):  # closed, or none at all
            self._target.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(ValueError, AttributeError, OSError):
            self._target.flush()

    def close(self) -> None:
        self.flush()

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        with suppress(ValueError, AttributeError):
            return bool(self._target.isatty())
        return False

    def writable(self) -> bool:
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return getattr(self._target, "encoding", None) or "utf-8"

    @property
    def buffer(self) -> Bytes:
        """The stream for bytes."""
        return Bytes(self)

    def __getattr__(self, name: str) -> Any:
        # Such as the stream behind a progress bar.
        return getattr(self.__dict__["_target"], name)

    def reconfigure(self, **settings: object) -> None:
        """Leave everything as it is: the stream is not the component's own."""


class Bytes(io.RawIOBase):
    """The bytes of a `Shield`."""

    def __init__(self, shield: Shield) -> None:
        self._shield = shield

    def write(self, content: Any, /) -> int:
        self._shield.write(bytes(content).decode(self._shield.encoding, "backslashreplace"))
        return len(content)

    def flush(self) -> None:
        self._shield.flush()

    def close(self) -> None:
        self.flush()

    def fileno(self) -> int:
        return self._shield.fileno()

    def writable(self) -> bool:
        return True


@contextmanager
def stdout_kept_clean() -> Iterator[None]:
    """Let everything that is printed in the block go to stderr, and give the streams back whole, whoever closes them."""
    global _owner  # noqa: PLW0603 (there is one stdout)
    outermost, thread = _owner, threading.get_ident()
    if outermost not in (None, thread):
        yield
        return
    _owner = thread
    _kept.append(_divert())
    try:
        yield
    finally:
        _give_back(*_kept.pop())
        _owner = outermost


@contextmanager
def results_alone() -> Iterator[None]:
    """Let nothing but `write_result` reach stdout in the block, and nothing of components after it.

    What they print while the process ends goes to stderr, too; and everything that is printed after the block, if they have
    left threads behind. This is so where stdout is the process's own, and nobody in it reads what is printed.
    """
    own, before = sys.stdout is sys.__stdout__, set(threading.enumerate())
    with stdout_kept_clean():
        try:
            yield
        finally:
            # Whoever sees that nobody reads any more wants to look at stdout itself.
            if own and not isinstance(sys.exc_info()[1], OSError):
                atexit.register(print_to_stderr)  # the last to be registered is called first
                if set(threading.enumerate()) - before:
                    _stay_diverted(*_kept[-1])


def write_result(text: str) -> None:
    """Write a text to stdout, past whatever components print at the same time."""
    if not _kept:
        sys.stdout.write(text)
        sys.stdout.flush()
        return
    copies, streams = _kept[0]
    stream = streams["stdout"]
    if stream is not streams["__stdout__"] or 1 not in copies:
        stream.write(text)  # whoever has put it there reads it
        return
    content = text.encode(stream.encoding, stream.errors)
    while content:
        content = content[os.write(copies[1], content) :]


def print_to_stderr() -> None:
    """Let everything that is printed from now on go to stderr."""
    _flush()
    sys.stdout = sys.stderr
    with suppress(OSError):
        os.dup2(2, 1)


def _stay_diverted(copies: dict[int, int], streams: dict[str, Any]) -> None:
    """Let what is given back be stderr in the place of stdout: a thread that prints knows no moment in between.

    The stream has no buffer, whose lock such a thread would hold for ever when Python ends, which then aborts.
    """
    with suppress(OSError, KeyError):
        os.dup2(2, copies[1])
    with suppress(OSError):
        raw: Any = io.FileIO(2, "w", closefd=False)
        streams["stdout"] = io.TextIOWrapper(raw, encoding="utf-8", errors="backslashreplace", write_through=True)


def _shield(target: Any, descriptor: int) -> Shield:
    """Return a shield, which stays: a thread may be printing to it, and Python's print does not hold on to it."""
    key = id(target), descriptor
    if key not in _shields:
        if len(_shields) >= SHIELDS:
            del _shields[next(iter(_shields))]
        _shields[key] = Shield(target, descriptor)
    return _shields[key]


@uninterrupted
def _divert() -> Kept:
    _flush()
    copies = {}
    for number in range(3):
        with suppress(OSError):  # one that is closed
            copies[number] = _copy(number)
    with suppress(OSError):
        os.dup2(2, 1)
    streams = {name: getattr(sys, name) for name in (*_NAMES, *(f"__{name}__" for name in _NAMES))}
    sys.stdout, sys.stderr = _shield(sys.stderr, 1), _shield(sys.stderr, 2)
    return copies, streams


def _copy(number: int) -> int:
    """Return a copy of a file descriptor that takes the place of none of the first three, one of which may be closed."""
    copy = os.dup(number)
    if copy > 2:
        return copy
    try:
        return _copy(number)
    finally:
        os.close(copy)


@uninterrupted
def _give_back(copies: dict[int, int], streams: dict[str, Any]) -> None:
    with suppress(OSError):  # where a component has closed stdout, what it has printed is still held back
        os.dup2(copies.get(2, 2), 1)
    _flush()
    for number, copy in copies.items():
        with suppress(OSError):
            os.dup2(copy, number)
        with suppress(OSError):
            os.close(copy)
    for name, stream in streams.items():
        setattr(sys, name, _whole(stream, name))


def _whole(stream: Any, name: str) -> Any:
    """Return a stream, or one like it if it has been closed."""
    if not isinstance(stream, io.TextIOWrapper) or not stream.closed:
        return stream
    number = next(k for k, known in enumerate(_NAMES) if known in name)
    mode = "w" if number else "r"
    return open(number, mode, encoding=stream.encoding, errors=stream.errors, closefd=False)


def _flush() -> None:
    """Write what is still held back, by Python's streams and by those of the C library."""
    streams: tuple[TextIO | None, ...] = (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)
    for stream in streams:
        with suppress(Exception):  # whatever a component has put there
            if stream is not None:
                stream.flush()
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).fflush(None)
