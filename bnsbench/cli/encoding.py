"""The streams that commands print to: what their encoding lacks is replaced, and what a terminal would obey is spelt out."""

from __future__ import annotations

import codecs
import io
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from bnsbench._text import spelt_out

REPLACING = "bnsbench.replacing"
"""The error handler of streams: characters that their encoding lacks become their `SUBSTITUTES`, or "?"."""

SUBSTITUTES = {
    "≈": "~",
    "…": ".",
    "\N{MULTIPLICATION SIGN}": "x",
    "\N{MINUS SIGN}": "-",
    "\N{EN DASH}": "-",
    "\N{RIGHT SINGLE QUOTATION MARK}": "'",
}
"""What stands for a character where it cannot be written, as wide as it, so that columns stay aligned."""

PLAIN_ASCII = "plain_ascii"
"""ASCII under another name: click takes a stream in ASCII for a mistake and writes UTF-8 to it all the same."""


def for_stdout(text: str) -> str:
    """Return the text as stdout can write it: characters that it lacks are replaced."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return text.encode(encoding, REPLACING).decode(encoding)


def make_streams_forgiving() -> None:
    """Let stdout and stderr write any text: characters that they lack are replaced from now on."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            ascii_only = codecs.lookup(stream.encoding).name == "ascii"
            stream.reconfigure(encoding=PLAIN_ASCII if ascii_only else None, errors=REPLACING)


class ShownStream:
    """A stream to which control characters are written as text, since they may come from files of others.

    It is the border to the terminal: whatever prints, click, the logging of Python or a component, prints through it.
    Colours of our own go to the stream below.
    """

    def __init__(self, below: TextIO) -> None:
        """Write to the stream ``below``."""
        self.below = below

    def write(self, text: str) -> int:
        """Write text with its control characters spelt out, but for line breaks and tabs."""
        self.below.write(spelt_out(text, kept="\n\t"))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write each of the texts."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.below, name)


@contextmanager
def shown_streams() -> Iterator[None]:
    """Let stdout and stderr spell out control characters within the block."""
    before = sys.stdout, sys.stderr
    shown: list[Any] = [ShownStream(stream) for stream in before]
    sys.stdout, sys.stderr = shown
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def for_colours(stream: TextIO) -> TextIO:
    """Return the stream that takes our own colours, whose text has been spelt out before."""
    return stream.below if isinstance(stream, ShownStream) else stream


def _replaced(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(SUBSTITUTES.get(character, "?") for character in error.object[error.start : error.end]), error.end


def _plain_ascii(name: str) -> codecs.CodecInfo | None:
    if name != PLAIN_ASCII:
        return None
    known: Any = codecs.lookup("ascii")
    return codecs.CodecInfo(
        known.encode,
        known.decode,
        known.streamreader,
        known.streamwriter,
        known.incrementalencoder,
        known.incrementaldecoder,
        PLAIN_ASCII,
    )


codecs.register_error(REPLACING, _replaced)
codecs.register(_plain_ascii)
