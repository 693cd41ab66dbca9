"""Programs in files, such as exported networks: reading one runs it, so each must be allowed by whoever runs the command.

What is allowed are contents, by their hashes: `PluginHost` carries these to worker processes, a component that it makes
takes them with it, and nothing that a suite or results say can add one. Python code that calls a component by itself,
without a host, names the file itself, and so allows it.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from bnsbench._text import quoted
from bnsbench.errors import UsageError

Digests = frozenset[str]
"""SHA-256 hashes of the contents of files."""

NONE: Digests = frozenset()

_allowed: ContextVar[Digests | None] = ContextVar("bnsbench_allowed_programs", default=None)


def digests_of(files: Iterable[Path | str]) -> Digests:
    """Return the hashes of files; UsageError names one that cannot be read."""
    return frozenset(hashlib.sha256(_content(Path(file))).hexdigest() for file in files)


def allowed_programs() -> Digests | None:
    """Return the programs that a component may run which is being made now, for it to keep; None if no host makes it."""
    return _allowed.get()


@contextmanager
def programs_allowed(digests: Digests) -> Iterator[None]:
    """Let components that are made within the block run programs of these contents, and no others."""
    token = _allowed.set(digests)
    try:
        yield
    finally:
        _allowed.reset(token)


def read_program(file: Path, allowed: Digests | None) -> io.BytesIO:
    """Return the content of a program that is allowed: the very bytes whose hash is.

    Args:
        file: The program.
        allowed: Hashes of what may run; None for what the caller names itself.

    Raises:
        UsageError: If the file is not there, or not allowed.
    """
    content = _content(file)
    if allowed is not None and hashlib.sha256(content).hexdigest() not in allowed:
        raise UsageError(
            f"The file {quoted(file)} is a program, which may do anything on this machine when it is read: if you trust its"
            " author, allow it by --allow-program FILE, or allow_programs=[FILE] in Python."
        )
    return io.BytesIO(content)


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"The program {quoted(file)} cannot be read: {reason}.") from error
