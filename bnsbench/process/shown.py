"""The border to the terminal: control characters of others are written as text."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from bnsbench._text import spelt_out

_NAMES = ("stdout", "stderr", "__stdout__", "__stderr__")


class ShownStream:
    """A stream to which control characters are written as text, since they may come from files of others.

    It is the border to the terminal: whatever prints, click, the logging of Python or a component, prints through it.
    Colours of our own go to the stream below.
    """

    def __init__(self, below: TextIO) -> None:
        """Write to the stream ``below``."""
        self.below = below

    def write(self, text: str) -> int:
        """Write text with its control characters spelt out, but for line breaks and tabs; TypeError for anything else."""
        if not isinstance(text, str):  # by which click knows streams of bytes
            raise TypeError(f"a text is written, not {type(text).__name__}")
        self.below.write(spelt_out(text, kept="\n\t"))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write each of the texts."""
        for line in lines:
            self.write(line)

    def close(self) -> None:
        """Write what is held back; the stream below is the process's own, and stays open."""
        self.below.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.below, name)


@contextmanager
def shown_streams() -> Iterator[None]:
    """Let stdout and stderr spell out control characters within the block."""
    before = {name: getattr(sys, name) for name in _NAMES}
    spell_out_streams()
    try:
        yield
    finally:
        for name, stream in before.items():
            setattr(sys, name, stream)


def spell_out_streams() -> None:
    """Let stdout and stderr spell out control characters from now on."""
    for name in ("stdout", "stderr"):
        stream: Any = getattr(sys, name)
        if stream is None:
            continue
        shown: Any = ShownStream(stream)
        if stream is getattr(sys, f"__{name}__"):  # it stays known as the process's own
            setattr(sys, f"__{name}__", shown)
        setattr(sys, name, shown)


def for_colours(stream: TextIO) -> TextIO:
    """Return the stream that takes our own colours, whose text has been spelt out before."""
    below: TextIO = getattr(stream, "below", stream)
    return below
