"""Deadlines inside a process: an exception is raised in what takes too long, again and again until it gets out.

Code that is not ours may swallow any exception. So the alarm repeats; where it has been swallowed a few times, the next
lines that the code reaches, those that handle the exception among them, raise it once more; and if the code is still there
(only what never comes back from a call of another language is), that is said.
"""

from __future__ import annotations

import _weakrefset
import ctypes
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, TypeVar

_T = TypeVar("_T")
_F = TypeVar("_F", bound=Callable[..., Any])

RETRY = 0.005
"""Seconds after which an alarm comes again that has come at a wrong moment."""

REPEAT = 0.25
"""Seconds between two alarms."""

SWALLOWED = 2
"""Alarms that may be swallowed before the lines that follow raise it."""

IMPORTING = 5.0
"""Seconds that an import is given to come to its end: half-imported modules would spoil what comes after. The same for what
Python calls when an object goes, from which it lets no exception out."""

_WEAK = (weakref.__file__, _weakrefset.__file__)

SAID = 10.0
"""Seconds after which it is said that something does not end."""

LONGEST = 1e8
"""Seconds that alarms can wait; a longer time is none."""

_PACKAGE = str(Path(__file__).parents[1])
_uninterrupted: set[CodeType] = set()


def uninterrupted(function: _F) -> _F:
    """Let no alarm be raised inside a function, which puts things in order: it comes when the function is done."""
    plain = getattr(function, "__wrapped__", function)
    _uninterrupted.add(plain.__code__)
    return function


class Deadline:
    """A time after which what is called has to end.

    In the main thread it is an alarm, which also ends waiting calls; elsewhere an exception that is raised at the next line.

    Args:
        seconds: From the call on; None for no deadline.
        error: What is raised, a class without arguments that ``except Exception`` does not catch.
        overdue: Called from another thread if what was called is still there ten seconds after the deadline.
    """

    def __init__(self, seconds: float | None, error: type[BaseException], overdue: Callable[[], None]) -> None:
        self.seconds = None if seconds is None else min(max(seconds, 1e-6), LONGEST)
        self.error = error
        self.overdue = overdue
        self.raised = 0
        self._first = 0.0
        self._active = False
        self._lock = threading.Lock()

    def call(self, do: Callable[[], _T]) -> _T:
        """Return what ``do`` returns; the error is raised out of it once it has taken too long."""
        if self.seconds is None:
            return do()
        alarmed = hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()
        with self._watched(alarmed), self._alarmed(self.seconds) if alarmed else self._thrown():
            return _inside(do)

    @contextmanager
    def _alarmed(self, seconds: float) -> Iterator[None]:
        traced, profiled = sys.gettrace(), sys.getprofile()
        before, began = signal.signal(signal.SIGALRM, self._ring), time.monotonic()
        left, interval = signal.setitimer(signal.ITIMER_REAL, seconds, REPEAT)
        try:
            yield
        finally:
            self._active = False
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
            if left:  # an alarm that somebody else has set rings when it was to ring
                signal.setitimer(signal.ITIMER_REAL, max(left - (time.monotonic() - began), 1e-3), interval)
            if self.raised > SWALLOWED:
                sys.setprofile(profiled)
                sys.settrace(traced)

    @contextmanager
    def _thrown(self) -> Iterator[None]:
        """Let the watching thread raise the error in this one."""
        try:
            yield
        finally:
            while not self._stopped():
                pass

    def _stopped(self) -> bool:
        """Return True once nothing can be thrown any more; what is thrown meanwhile is caught here."""
        try:
            with self._lock:
                self._active = False
            time.sleep(0)  # what has been thrown is raised by now; Python cannot take it back without a trace
        except self.error:
            return False
        return True

    @contextmanager
    def _watched(self, alarmed: bool) -> Iterator[None]:
        self._active, ended = True, threading.Event()
        threading.Thread(target=self._watch, args=(threading.get_ident(), ended, alarmed), daemon=True).start()
        try:
            yield
        finally:
            ended.set()

    def _watch(self, thread: int, ended: threading.Event, alarmed: bool) -> None:
        """Throw the error where no alarm does, and say when nothing has helped."""
        assert self.seconds is not None  # noqa: S101 (there is no watch without a deadline)
        due = time.monotonic() + self.seconds
        if ended.wait(self.seconds):
            return
        while time.monotonic() < due + SAID:
            if not alarmed:
                self._throw_into(thread)
            if ended.wait(REPEAT if not alarmed else SAID):
                return
        self.overdue()
        while not alarmed and not ended.wait(REPEAT):
            self._throw_into(thread)

    def _throw_into(self, thread: int) -> None:
        with self._lock:
            frame = sys._current_frames().get(thread)
            if self._active and frame is not None and self._may_raise(frame):
                self.raised += 1
                _throw(thread, self.error)

    def _ring(self, number: int, frame: FrameType | None) -> None:
        """Raise the error in the frame that the alarm has come upon."""
        del number
        if not self._active:
            return
        if frame is None or not self._may_raise(frame):
            signal.setitimer(signal.ITIMER_REAL, RETRY, REPEAT)
            return
        self.raised += 1
        if self.raised > SWALLOWED:
            self._insist(frame)
        raise self.error

    def _may_raise(self, frame: FrameType) -> bool:
        """Whether the frame is one of what was called, and of nothing that has to come to its end first."""
        self._first = self._first or time.monotonic()
        importing = False
        for each in _stack(frame):
            if each.f_code in _uninterrupted:
                return False
            importing = importing or _has_to_end(each.f_code)
            if each.f_code is _inside.__code__:
                return not importing or time.monotonic() > self._first + IMPORTING
        return False

    def _insist(self, frame: FrameType) -> None:
        """Let the next line of code that is not ours raise the error, also one that handles it, on every level of calls."""

        def trace(frame: FrameType, event: str, argument: object) -> Any:
            del argument
            if event == "line" and self._may_raise(frame):
                raise self.error  # which ends the tracing
            return trace

        def profile(frame: FrameType, event: str, argument: object) -> None:
            del argument
            if event == "return" and self._may_raise(frame):
                follow(frame.f_back)

        def follow(frame: FrameType | None) -> None:
            for each in _stack(frame):
                if each.f_code is _inside.__code__:
                    break
                if not each.f_code.co_filename.startswith(_PACKAGE):
                    each.f_trace = trace
            sys.settrace(lambda *_: None)

        follow(frame)
        sys.setprofile(profile)


def _has_to_end(code: CodeType) -> bool:
    """Whether code is part of an import, or is called because an object goes."""
    return code.co_filename.startswith("<frozen importlib") or code.co_filename in _WEAK or code.co_name == "__del__"


def _inside(do: Callable[[], _T]) -> _T:
    """Call ``do``: an alarm is raised only while this function is being executed, so that it always gets out of here."""
    return do()


def _stack(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _throw(thread: int, error: type[BaseException]) -> None:
    """Let Python raise the error in a thread at its next line."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(error))
