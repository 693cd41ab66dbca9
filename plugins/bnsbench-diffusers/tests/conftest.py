"""Settings for the package's tests: an own cache, this plugin alone, fixed random states, tiny pipelines made once."""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bnsbench_diffusers.testing import make_tiny_pipeline


@pytest.fixture(autouse=True)
def _isolated(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("BNSBENCH_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("BNSBENCH_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.setenv("BNSBENCH_PLUGINS", "diffusers")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture
def bnsbench(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run a command, as ``python -m bnsbench`` does but in this process, and return its exit code."""

    def run(*words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["bnsbench", *words])
        with pytest.raises(SystemExit) as end:
            runpy.run_module("bnsbench", run_name="__main__")
        return int(end.value.code or 0)

    return run


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of the tiny pipeline of a kind, made when it is first asked for."""
    folder = tmp_path_factory.mktemp("pipelines")

    def find(kind: str) -> Path:
        place = folder / kind
        return place if place.is_dir() else make_tiny_pipeline(kind, place)

    return find
