"""Processes that tests spawn, which have to find this package and not the ``tests`` that torch_fidelity installs."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


@contextmanager
def _finding_tests() -> Iterator[None]:
    """A spawned process gets the path that its parent has when it is started."""
    before = list(sys.path)
    sys.path.insert(0, str(ROOT))
    try:
        yield
    finally:
        sys.path[:] = before


def spawned(function: Callable[..., Any], *arguments: Any) -> SpawnProcess:
    """Return a started process that calls a function of a module of these tests."""
    process = multiprocessing.get_context("spawn").Process(target=function, args=arguments, daemon=True)
    with _finding_tests():
        process.start()
    return process
