"""Text for streams that cannot write every character: what they lack is replaced, and nothing is lost to an error."""

from __future__ import annotations

import sys

from bnsbench.report.matrix import TIE, TIE_IN_ASCII


def for_stdout(text: str) -> str:
    """Return the text as stdout can write it: the mark of a tie in ASCII, and other characters that it lacks as "?"."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.replace(TIE, TIE_IN_ASCII).encode(encoding, "replace").decode(encoding)
    return text
