"""The probability paths that plugins offer, for a model that is being made and is told a path by name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from bnsbench.contract.specs import PathSpec

_offered: ContextVar[tuple[PathSpec, ...]] = ContextVar("bnsbench_offered_paths", default=())


def offered_paths() -> tuple[PathSpec, ...]:
    """Return the paths of the plugins of the host that makes a component now; none where no host does."""
    return _offered.get()


@contextmanager
def paths_offered(paths: tuple[PathSpec, ...]) -> Iterator[None]:
    """Let models that are made within the block take these paths."""
    token = _offered.set(paths)
    try:
        yield
    finally:
        _offered.reset(token)
