from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch

from bnsbench.flows.model import Reference
from bnsbench.metrics.base import SampleSet
from bnsbench.models.digits.data import load_digits
from bnsbench.models.digits.model import DigitsModel, digits


@pytest.fixture(scope="session")
def model() -> DigitsModel:
    return digits("ot")


@pytest.fixture
def sample_set(model: DigitsModel) -> Callable[..., SampleSet]:
    """Make a sample set from samples and truth; images are their own latents."""

    def make(samples: torch.Tensor, truth: torch.Tensor, **changes: Any) -> SampleSet:
        base = SampleSet(samples, truth, None, data_range=2.0, model=model)
        return dataclasses.replace(base, **changes)

    return make


@pytest.fixture(scope="session")
def images() -> Reference:
    """The digits in a random order with their labels."""
    data = load_digits()
    order = torch.randperm(len(data.images), generator=torch.Generator().manual_seed(4))
    return Reference(data.images[order], data.labels[order])
