"""Settings for all tests: one thread, so that parallel test workers do not fight over cores."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def _isolated(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep tests away from the user's cache and plugins."""
    monkeypatch.setenv("BNSBENCH_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    for name in [name for name in os.environ if name.startswith("BNSBENCH_") and name != "BNSBENCH_CACHE"]:
        monkeypatch.delenv(name)


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)
