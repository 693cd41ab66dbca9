"""How pictures are drawn: by matplotlib's own settings, and with names of others as they are written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from matplotlib import rc_context, rcParamsDefault

from bnsbench._text import spelt_out

_OF_THE_MACHINE = ("backend", "backend_fallback", "toolbar", "interactive")
"""Settings that say where windows open, which nothing here does."""


@contextmanager
def plain_style(changes: Mapping[str, Any] | None = None) -> Iterator[None]:
    """Draw by matplotlib's own settings within the block, and these changes of them.

    Otherwise a file matplotlibrc in the folder where one is would have its say: it can have LaTeX run what it likes.
    """
    own: dict[Any, Any] = {key: value for key, value in rcParamsDefault.items() if key not in _OF_THE_MACHINE}
    own |= changes or {}
    with rc_context(own):
        yield


def label(text: str) -> str:
    """Return a text for a picture that shows just these characters.

    A dollar sign begins no formula, and an underscore does not hide a line from the legend.
    """
    shown = spelt_out(text, kept="\n").replace("$", r"\$")
    return f" {shown}" if shown.startswith("_") else shown
