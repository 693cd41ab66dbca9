"""Models whose conditions are classes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bnsbench.errors import NotApplicableError
from bnsbench.flows.model import Model
from bnsbench.models.embedded import EmbeddedNetwork
from bnsbench.models.variants import Variant


class ClassConditionalModel(Model):
    """A model whose conditions are int64 labels [batch]; the number of classes stands for "no condition".

    classes: their number; 0 for an unconditional model.
    """

    classes: int

    def conditions(self, indices: Tensor) -> Tensor | None:
        return indices.to(torch.int64) % self.classes if self.classes else None

    def null_condition(self, condition: Tensor) -> Tensor:
        if not self.classes:
            raise NotApplicableError(f"This {type(self).__name__} has no classes, so guidance is not defined for it.")
        return torch.full_like(condition, self.classes)


class NetworkModel(EmbeddedNetwork, ClassConditionalModel):
    """A class-conditional network that was trained in one of several variants.

    Args:
        network: The network (clock, x, labels) with its weights, which is frozen.
        variant: How it was trained.
        fingerprint: From `variant_fingerprint`.
    """

    def __init__(self, network: nn.Module, variant: Variant, fingerprint: str) -> None:
        super().__init__(network, fingerprint)
        self.variant = variant
        self.path = variant.path
        self.prediction = variant.prediction
        self.interval = (0.0, variant.end)

    def predict(self, t: Tensor, x: Tensor, condition: Tensor | None) -> Tensor:
        if condition is None:
            condition = torch.full((len(x),), self.classes, device=x.device)
        clock = self.variant.clock(t).to(dtype=x.dtype, device=x.device)
        prediction: Tensor = self.network(clock, x, condition.to(x.device))
        return prediction
