"""Settings for the package's tests: an own cache, this plugin alone, fixed random states, tiny pipelines made once."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bnsbench_diffusers.models.base import PipelineModel
from bnsbench_diffusers.models.registry import diffusers_model
from bnsbench_diffusers.testing import make_tiny_pipeline

PROMPTS = ("a red fox in the snow", "two boats", "an empty street at night")


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


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of the tiny pipeline of a kind, made when it is first asked for."""
    folder = tmp_path_factory.mktemp("pipelines")

    def find(kind: str) -> Path:
        place = folder / kind
        return place if place.is_dir() else make_tiny_pipeline(kind, place)

    return find


@pytest.fixture(scope="session")
def prompts_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("prompts") / "prompts.txt"
    file.write_text("\n".join(PROMPTS) + "\n", encoding="utf-8")
    return file


@pytest.fixture
def load(tiny: Callable[[str], Path], prompts_file: Path) -> Callable[..., PipelineModel]:
    """The model of the tiny pipeline of a kind, or of another folder, with the prompts if it reads text."""

    def make(kind: str, folder: Path | None = None, **options: object) -> PipelineModel:
        folder = folder or tiny(kind)
        if any(folder.glob("tokenizer*")):
            options = {"prompts": str(prompts_file), **options}
        if kind == "flux":  # by itself it would make images of 256 pixels
            options = {"size": 16, **options}
        return diffusers_model(str(folder), **options)

    return make
