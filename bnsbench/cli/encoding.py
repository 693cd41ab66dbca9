"""Text for streams that cannot write every character: what they lack is replaced, and nothing is lost to an error."""

from __future__ import annotations

import codecs
import io
import sys
from typing import Any

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
