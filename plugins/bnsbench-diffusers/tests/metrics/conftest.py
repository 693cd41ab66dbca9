"""Samples with texts, and the tiny networks that judge them."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bnsbench.plugin import SampleSet
from bnsbench_diffusers.testing import make_tiny_checkpoint


@pytest.fixture(scope="session")
def told():
    """The file of models that are told texts, as a module."""
    spec = importlib.util.spec_from_file_location("told", Path(__file__).with_name("told.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_checkpoint("clip", tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="session")
def clap_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_checkpoint("clap", tmp_path_factory.mktemp("clap"))


@pytest.fixture
def images() -> torch.Tensor:
    """Images [6, 3, 20, 36] in [-1, 1], flat ones and noisy ones of different colours."""
    generator = torch.Generator().manual_seed(1)
    values = torch.rand(6, 3, 20, 36, generator=generator) * 2 - 1
    values[0], values[1], values[2, 0], values[3, :, :10] = 1.0, -1.0, -1.0, 0.5
    return values


@pytest.fixture
def sample_set(told) -> Callable[..., SampleSet]:
    """Make a set of samples that are their own latents, with a text for each."""

    def make(samples: torch.Tensor, truth: torch.Tensor | None = None, model=None, condition="all") -> SampleSet:
        truth = samples if truth is None else truth
        model = model or told.pictures()
        told_to = model.conditions(torch.arange(len(samples))) if isinstance(condition, str) else condition
        return SampleSet(samples, truth, told_to, 2.0, model)

    return make
