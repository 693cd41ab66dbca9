"""Files that results name in their suite, such as ``fid[weights=FILE]``: whoever checks results has not asked for them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bnsbench._text import quoted
from bnsbench.contract import PluginHost, Selection
from bnsbench.errors import UsageError
from bnsbench.storage.names import at_home, is_there
from bnsbench.suite.suitefile import Suite, read_suite

OFFLINE = "HF_HUB_OFFLINE"
"""The environment variable by which Hugging Face's libraries use only what they have fetched before."""

_INSIDE = re.compile(r"[\[\],=:]")
"""What stands around the names in a value that is a selector itself, such as ``init=FILE`` in ``bns[init=FILE]``."""


def refuse_named_files(suite_file: Path, host: PluginHost, allowed: Iterable[Path] = ()) -> None:
    """Raise UsageError if a suite names a file or folder that is there and not allowed to be read.

    Args:
        suite_file: The suite of results that somebody else may have made; one that cannot be read names nothing.
        host: The plugins.
        allowed: Files, and folders with all that is in them.
    """
    try:
        suite = read_suite(suite_file)
    except UsageError:
        return
    places = [place.resolve() for place in allowed]
    for component, parameter, path in named_files(suite, host):
        there = path.resolve()
        if not any(there == place or place in there.parents for place in places):
            raise UsageError(
                f"The results name {quoted(path)} ({parameter} of {component}), and what results name is read only if"
                f" --allow-file {path} allows it; --cells 0 checks them without."
            )


@contextmanager
def nothing_fetched() -> Iterator[None]:
    """Let Hugging Face's libraries, if they are not loaded yet, fetch nothing in the block unless the environment says so.

    Results may name a checkpoint of the hub, and whoever reads them has not asked for it.
    """
    before = os.environ.get(OFFLINE)
    os.environ.setdefault(OFFLINE, "1")
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(OFFLINE, None)


def named_files(suite: Suite, host: PluginHost) -> Iterator[tuple[str, str, Path]]:
    """Yield the component, the parameter and the path of every file or folder that a suite names and that is there."""
    for selection in _components(suite, host):
        defaults = selection.spec.parameters
        for parameter, value in selection.parameters.items():
            if isinstance(value, str) and value != defaults[parameter]:
                for path in _paths(value):
                    yield selection.canonical, parameter, path


def _components(suite: Suite, host: PluginHost) -> Iterator[Selection[Any]]:
    """Yield the components that a suite names and that there are."""
    for entry in suite.full_entries():
        wanted = ((host.model, (entry.name,)), (host.solver, entry.solvers or ()), (host.metric, entry.metrics or ()))
        for find, names in wanted:
            for name in names:
                try:
                    yield find(name)
                except UsageError:  # it is not made, so it reads nothing
                    continue


def _paths(value: str) -> Iterator[Path]:
    for text in dict.fromkeys([value, *_INSIDE.split(value)]):
        path = at_home(text) if text.strip() else None
        if path is not None and is_there(path):
            yield path
