"""The base of models with an exact velocity: their data are a mixture of Gaussians by definition."""

from __future__ import annotations

import hashlib
import json
from abc import abstractmethod
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from bnsbench.flows.model import Reference
from bnsbench.models.class_conditional import ClassConditionalModel

REFERENCE_SAMPLES = 2000


class Parameters(Protocol):
    """The parameters of a mixture."""

    def digest(self) -> str:
        """Return the sha256 of the parameters."""


class ExactModel(ClassConditionalModel):
    """The exact velocity field of a mixture, which is its own data set."""

    mixture: Parameters

    @abstractmethod
    def draw(self, labels: Tensor | None, count: int, generator: torch.Generator) -> Tensor:
        """Draw samples [count, *shape] from the mixture.

        Args:
            labels: Classes [count], or None for samples of any class.
            count: The number of samples.
            generator: On the CPU.
        """

    def reference(self) -> Reference:
        return self._draws

    @cached_property
    def _draws(self) -> Reference:
        """2000 seeded draws."""
        labels = self.conditions(torch.arange(REFERENCE_SAMPLES))
        return Reference(self.draw(labels, REFERENCE_SAMPLES, torch.Generator().manual_seed(0)), labels)

    def fingerprint(self) -> str:
        facts = [self.mixture.digest(), self.path.to_dict(), self.interval]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
