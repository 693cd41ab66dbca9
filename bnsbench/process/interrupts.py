"""What ends a process: the user's interrupt, told from what a component raises by itself, and calls that leave at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn


class Interrupts:
    """What is known of interrupts while a component is at work.

    known: whether the user's interrupts are seen here, so that any other is none of the user's.
    """

    def __init__(self, known: bool) -> None:
        self.known = known
        self._asked = False

    def note(self, number: int, frame: FrameType | None) -> None:
        """Raise KeyboardInterrupt, for the user has asked for it."""
        self._asked = True
        signal.default_int_handler(number, frame)

    def by_user(self, error: BaseException) -> bool:
        """Whether an exception is the user's interrupt."""
        return isinstance(error, KeyboardInterrupt) and (self._asked or not self.known)

    def raise_swallowed(self) -> None:
        """Raise the user's interrupt if a component has swallowed it."""
        if self._asked:
            raise KeyboardInterrupt


@contextmanager
def interrupts_told() -> Iterator[Interrupts]:
    """Tell the user's interrupts from others while the block runs; one that was swallowed is raised at its end.

    They come to the main thread alone, and only where nobody ignores them or handles them in another way.
    """
    if threading.current_thread() is not threading.main_thread():
        yield Interrupts(known=True)
        return
    before = signal.getsignal(signal.SIGINT)
    outer = getattr(before, "__self__", None)
    if isinstance(outer, Interrupts):
        yield outer
        outer.raise_swallowed()
        return
    if before is not signal.default_int_handler:
        yield Interrupts(known=before is signal.SIG_IGN)
        return
    interrupts = Interrupts(known=True)
    signal.signal(signal.SIGINT, interrupts.note)
    try:
        yield interrupts
    finally:
        signal.signal(signal.SIGINT, before)
    interrupts.raise_swallowed()


@contextmanager
def exits_refused() -> Iterator[None]:
    """Let nothing in the block end this process without a word: `os._exit` raises SystemExit, but in forked processes."""
    leave, process = os._exit, os.getpid()

    def refuse(status: int) -> NoReturn:
        if os.getpid() != process:
            leave(status)
        raise SystemExit(status)

    os._exit = refuse
    try:
        yield
    finally:
        os._exit = leave
