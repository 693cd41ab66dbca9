"""Settings for all tests: fixed random states, and one thread, so that parallel workers do not fight over cores."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _isolated(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep tests away from the user's cache and plugins, those that are installed among them."""
    for name in [name for name in os.environ if name.startswith("BNSBENCH_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("BNSBENCH_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.setenv("BNSBENCH_PLUGINS", "")


@pytest.fixture
def plugins_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let installed and local plugins be loaded, as they are for users."""
    monkeypatch.delenv("BNSBENCH_PLUGINS")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Give every test the same random states, whatever ran before it."""
    import random

    import numpy as np
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 (the global state is what other libraries use)
    random.seed(0)


@pytest.fixture(autouse=True)
def _measured() -> Iterator[None]:
    """Let no test end what measures the coverage of those after it."""
    before = sys.gettrace()
    yield
    assert sys.gettrace() is before
