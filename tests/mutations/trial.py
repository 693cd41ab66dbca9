"""One trial: the tests of a room with a mutant in the place of its module, in a process of their own."""

from __future__ import annotations

import contextlib
import importlib.abc
import importlib.util
import os
import signal
import sys
import time
import warnings
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

PATIENCE = 0.05
"""Seconds between two looks at a running trial."""


class _Loader(importlib.abc.SourceLoader):
    """Loads one module from a text, under the name of its own file."""

    def __init__(self, file: Path, source: str) -> None:
        self.file, self.source = file, source

    def get_filename(self, fullname: str) -> str:
        return str(self.file)

    def get_data(self, path: str | bytes) -> bytes:
        return self.source.encode()


class Changed(importlib.abc.MetaPathFinder):
    """Finds one module, with another source than its file's."""

    def __init__(self, module: str, file: Path, source: str) -> None:
        self.module, self.file, self.source = module, file, source

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if fullname != self.module:
            return None
        folder = [str(self.file.parent)] if self.file.name == "__init__.py" else None
        loader = _Loader(self.file, self.source)
        return importlib.util.spec_from_file_location(fullname, self.file, loader=loader, submodule_search_locations=folder)


def preload() -> None:
    """Import what takes long and is no part of bnsbench, so that every trial starts with it."""
    import numpy as np  # noqa: F401
    import pandas as pd  # noqa: F401
    import scipy.integrate
    import scipy.stats  # noqa: F401
    import torch
    import torchdiffeq  # noqa: F401

    torch.set_num_threads(1)


def run(changed: Changed | None, tests: Sequence[Path], limit: float) -> tuple[str, float]:
    """Return how the tests end, "killed", "survived" or "timeout", and their seconds.

    Args:
        changed: The mutant; None for the module as it is.
        tests: Files and folders, in the order in which they are run, up to the first failure.
        limit: Seconds after which the trial is ended.
    """
    began = time.monotonic()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of threads, which the child does not need
        child = os.fork()
    if child == 0:
        _run_tests(changed, tests)
    while time.monotonic() - began < limit:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            survived = os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0
            return "survived" if survived else "killed", time.monotonic() - began
        time.sleep(PATIENCE)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "timeout", time.monotonic() - began


def _run_tests(changed: Changed | None, tests: Sequence[Path]) -> None:
    """Run the tests and end the process; it has a group of its own, so that its children end with it."""
    import pytest

    os.setsid()
    if changed is not None:
        sys.meta_path.insert(0, changed)
    quiet = ["-x", "-q", "-p", "no:randomly", "-p", "no:cacheprovider", "--no-header", "--no-summary"]
    code = 3
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):  # noqa: PTH123
        code = int(pytest.main([*quiet, *map(str, tests)]))
    os._exit(code)
