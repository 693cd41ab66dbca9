"""Judges: they tell whether samples show what their conditions ask for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

from torch import Tensor

from bnsbench.errors import NotApplicableError

Asked = Literal["class", "caption", "word"]
"""What a condition can be, and with it the metric that asks the judge: accuracy, alignment or word-accuracy."""


class ConditionJudge(ABC):
    """A reader of the samples of one model, such as a classifier, which `Model.judge` returns.

    Subclass it and implement `found` and `fingerprint`. Of its answers metrics make the share of samples that satisfy their
    condition.

    Attributes:
        asks: what the conditions are: a "class" (judged by the metric accuracy), a "caption" (alignment) or a "word"
            (word-accuracy).
        parts: names of the parts of a condition that are found or missed by themselves, whose shares go into the record;
            empty if a condition is one thing.
    """

    asks: Asked
    parts: tuple[str, ...] = ()

    @abstractmethod
    def found(self, shown: Tensor, condition: Tensor) -> Tensor:
        """Return what samples show of their conditions.

        Args:
            shown: What `shown` returns for end states, float32 on the CPU.
            condition: The conditions [n, ...], on the CPU.

        Returns:
            bool [n, parts], or [n, 1] without parts. A sample counts if all of it is found.

        Raises:
            NotApplicableError: Some conditions ask for nothing that could be found.
        """

    def log_likelihood(self, shown: Tensor, condition: Tensor) -> Tensor:
        """Return log p(condition | shown) [n], in nats, as the judge thinks; the metric preference asks for it.

        Args:
            shown: As in `found`.
            condition: The conditions [n, ...], on the CPU.

        Raises:
            NotApplicableError: It finds or does not find, and tells no likelihood, or a condition asks for nothing.
        """
        del shown, condition
        raise NotApplicableError(f"{type(self).__name__} tells no likelihood of conditions.")

    @abstractmethod
    def fingerprint(self) -> str:
        """Return a hexadecimal hash of everything that determines the judgement, such as the classifier's weights."""

    def shown(self, states: Tensor) -> Tensor:
        """Return what the judge sees of the ODE's end states [n, *shape]: the states, unless overridden, say to decode them.

        A constant sample shows nothing, whatever `found` says of it.
        """
        return states
