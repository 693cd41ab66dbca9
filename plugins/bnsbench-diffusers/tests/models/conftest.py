"""Tiny pipelines as models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bnsbench_diffusers.models.base import PipelineModel
from bnsbench_diffusers.models.registry import diffusers_model
from bnsbench_diffusers.testing import SMALLEST

PROMPTS = ("a red fox in the snow", "two boats", "an empty street at night")


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
        return diffusers_model(str(folder), **{**SMALLEST.get(kind, {}), **options})

    return make
