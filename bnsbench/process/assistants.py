"""Assistants: processes of this package's own that compute parts of a long answer on the other cores.

They are programs of their own and not forks, so that they neither import the caller's main program again, as Python's own
pools do, nor inherit its threads.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import IO, TypeVar

from bnsbench.process.machine import cores

_Part = TypeVar("_Part")
_Answer = TypeVar("_Answer")

ALONE = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""Variables by which numerical libraries keep to one thread: there is an assistant for each core."""


class _Assistant:
    """A process that answers one question after another."""

    def __init__(self) -> None:
        command = [sys.executable, "-c", f"from {__name__} import main; main()"]
        path = os.pathsep.join(place for place in sys.path if place)
        environment = os.environ | ALONE | {"PYTHONPATH": path}
        self._process = subprocess.Popen(  # noqa: S603 (our own program)
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
        )

    def answer(self, question: bytes) -> object:
        """Return the answer to a pickled question; an error if the process has none."""
        if self._process.stdin is None or self._process.stdout is None:
            raise EOFError
        self._process.stdin.write(question)
        self._process.stdin.flush()
        return pickle.load(self._process.stdout)  # noqa: S301 (what our own process has written)

    def dismiss(self) -> None:
        """End the process."""
        self._process.kill()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()
        self._process.wait()


def in_parts(function: Callable[[_Part], _Answer], parts: Sequence[_Part], workers: int | None = None) -> Iterator[_Answer]:
    """Yield ``function(part)`` of every part, in their order, computed on several cores at once.

    A part for which an assistant fails, for whatever reason, is computed here, where an error has its place.

    Args:
        function: A function of a module of this package.
        parts: What it is called with.
        workers: Processes, as many as there are cores if None; with one or none everything is computed here.
    """
    count = min(cores() if workers is None else workers, len(parts))
    if count < 2:
        yield from map(function, parts)
        return
    assistants: list[_Assistant] = []
    free: list[_Assistant] = []

    def ask(part: _Part) -> _Answer:
        assistant = free.pop()
        try:
            answer = assistant.answer(pickle.dumps((function, part)))
        except (OSError, EOFError, pickle.PickleError, AttributeError, ImportError):
            return function(part)
        finally:
            free.append(assistant)
        return function(part) if isinstance(answer, _Failed) else answer  # type: ignore[return-value]

    try:
        with suppress(OSError):  # no process can be started
            # One by one, so that those are ended that were started.
            assistants.extend(_Assistant() for _ in range(count))
        free += assistants
        with ThreadPoolExecutor(max(1, len(assistants))) as threads:
            try:
                yield from threads.map(ask, parts) if assistants else map(function, parts)
            finally:
                threads.shutdown(cancel_futures=True)
    finally:
        for assistant in assistants:
            assistant.dismiss()


class _Failed:
    """In place of an answer: the question is asked again where its error is seen."""


def serve(questions: IO[bytes], answers: IO[bytes]) -> None:
    """Answer questions until there are no more."""
    while True:
        try:
            function, part = pickle.load(questions)  # noqa: S301 (what the process has written that started this one)
        except EOFError:
            return
        try:
            answer = pickle.dumps(function(part))
        except Exception:  # noqa: BLE001 (whatever it is, the caller meets it again)
            answer = pickle.dumps(_Failed())
        answers.write(answer)
        answers.flush()


def main() -> None:
    """Serve at standard input and output; what anything else prints goes to stderr."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    with suppress(BrokenPipeError, KeyboardInterrupt):
        serve(sys.stdin.buffer, answers)
