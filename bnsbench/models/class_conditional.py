"""Models whose conditions are classes."""

from __future__ import annotations

import torch
from torch import Tensor

from bnsbench.errors import NotApplicableError
from bnsbench.flows.model import Model


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
