"""Where a process's time goes: seconds by phase of the work, and those of them in which a network computed.

A clock runs in the block of `ticking`; `phase` and `network` mark what is done, anywhere below, and cost next to nothing
where no clock runs. A phase inside another one stops the outer one, so that every second belongs to one phase.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import torch

OTHER = "other"
"""The phase of what is in none."""

KEPT_EVENTS = 64
"""Pairs of events on a CUDA device from which on finished ones are read."""

_T = TypeVar("_T")


class Clock:
    """Seconds by phase, and those in a network.

    seconds: by phase, of this process. others: by phase, of work that goes on beside this process. workers: how many
    processes do that work, 0 while it is done here.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.others: dict[str, float] = {}
        self.workers = 0
        self._network: dict[str, float] = {}
        self._phases = [OTHER]
        self._since = time.perf_counter()
        self._in_network = False
        self._events: deque[tuple[str, Any, Any]] = deque()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count the block's time for that phase."""
        self._account()
        self._phases.append(name)
        try:
            yield
        finally:
            self._account()
            self._phases.pop()

    def stop(self) -> None:
        """Count the time until now, for whoever reads ``seconds``."""
        self._account()
        self._read_events()

    def network_seconds(self) -> dict[str, float]:
        """Return the seconds in a network by phase: on a CUDA device those of its stream, as far as it has come."""
        self._read_events()
        return dict(self._network)

    @contextmanager
    def network(self, device: torch.device) -> Iterator[None]:
        """Count the block's time as that of a network on a device; a block inside such a block counts once.

        On a CUDA device two events of its stream are recorded, and nobody waits for them.
        """
        if self._in_network:
            yield
            return
        self._in_network = True
        phase, ends = self._phases[-1], None if device.type != "cuda" else _events(device)
        began = time.perf_counter()
        try:
            yield
        finally:
            self._in_network = False
            if device.type != "cuda":
                self._network[phase] = self._network.get(phase, 0.0) + time.perf_counter() - began
            elif ends is not None:
                ends[1].record()
                self._events.append((phase, *ends))
                if len(self._events) > KEPT_EVENTS:
                    self._read_events()

    def _account(self) -> None:
        now, phase = time.perf_counter(), self._phases[-1]
        self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self._since
        self._since = now

    def _read_events(self) -> None:
        """Count the pairs of events that are over; a stream comes to them in their order."""
        while self._events and self._events[0][2].query():
            phase, begin, end = self._events.popleft()
            self._network[phase] = self._network.get(phase, 0.0) + begin.elapsed_time(end) / 1000.0


_RUNNING: ContextVar[Clock | None] = ContextVar("clock", default=None)


@contextmanager
def ticking() -> Iterator[Clock]:
    """Let a clock of its own run in the block, whatever clock runs outside of it."""
    clock = Clock()
    token = _RUNNING.set(clock)
    try:
        yield clock
    finally:
        clock.stop()
        _RUNNING.reset(token)


@contextmanager
def phase(name: str) -> Iterator[None]:
    """Count the block's time for that phase, if a clock runs."""
    clock = _RUNNING.get()
    if clock is None:
        yield
    else:
        with clock.phase(name):
            yield


@contextmanager
def network(device: torch.device) -> Iterator[None]:
    """Count the block's time as that of a network on a device, if a clock runs."""
    clock = _RUNNING.get()
    if clock is None:
        yield
    else:
        with clock.network(device):
            yield


def each(name: str, items: Iterable[_T]) -> Iterator[_T]:
    """Yield the items; the time until each of them is there counts for that phase, if a clock runs."""
    iterator = iter(items)
    while True:
        with phase(name):
            try:
                item = next(iterator)
            except StopIteration:
                return
        yield item


def workers(count: int) -> None:
    """Say how many processes do the work beside this one, if a clock runs."""
    clock = _RUNNING.get()
    if clock is not None:
        clock.workers = count


def beside(name: str, seconds: float) -> None:
    """Count seconds of a process beside this one for that phase, if a clock runs."""
    clock = _RUNNING.get()
    if clock is not None:
        clock.others[name] = clock.others.get(name, 0.0) + seconds


def _events(device: torch.device) -> tuple[Any, Any] | None:
    """Return the begin, recorded, and the end of a block on a CUDA device; None while a graph is captured."""
    import torch  # noqa: PLC0415 (a listing does without)

    if torch.cuda.is_current_stream_capturing():
        return None
    with torch.cuda.device(device):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        begin.record()
    return begin, end
