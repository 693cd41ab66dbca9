"""Velocity fields bound to a batch: what solvers see, and counting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from torch import Tensor

from bnsbench.flows.paths import Path


class VelocityField(Protocol):
    """A velocity u_t(x) for one batch.

    path: the Gaussian path on which it was trained.
    interval: (t_begin, t_end) on which it may be evaluated; sampling integrates over it.
    """

    @property
    def path(self) -> Path: ...

    @property
    def interval(self) -> tuple[float, float]: ...

    def __call__(self, t: Tensor, x: Tensor) -> Tensor:
        """Return u_t(x), shaped like x [batch, ...]; t is 0-d or [batch]."""


class BatchField(VelocityField, Protocol):
    """A velocity field that can be restricted to a part of its batch."""

    forwards_per_evaluation: int

    def part(self, index: Tensor | slice) -> BatchField:
        """Return the field for the samples ``index`` of the batch."""


class FunctionField:
    """A velocity field made from a plain function u(t, x) of one batch.

    Args:
        function: Returns u_t(x), shaped like x [batch, ...], for a time t that is 0-d or [batch].
        path: The Gaussian path to which the field belongs.
        interval: (t_begin, t_end) on which it may be evaluated.
    """

    forwards_per_evaluation = 1

    def __init__(
        self, function: Callable[[Tensor, Tensor], Tensor], path: Path, interval: tuple[float, float] = (0.0, 1.0)
    ) -> None:
        self.function = function
        self.path = path
        self.interval = interval

    def __call__(self, t: Tensor, x: Tensor) -> Tensor:
        return self.function(t, x)

    def part(self, index: Tensor | slice) -> FunctionField:
        """Return itself: a plain function knows no conditions."""
        del index
        return self


class CountingField:
    """A velocity field that counts its evaluations, so that a solver's NFE is measured.

    nfe: calls so far. evaluations: calls times batch size. forwards: network forwards, per sample.
    """

    def __init__(self, field: BatchField) -> None:
        self.field = field
        self.forwards_per_evaluation = field.forwards_per_evaluation
        self.nfe = 0
        self.evaluations = 0

    @property
    def path(self) -> Path:
        return self.field.path

    @property
    def interval(self) -> tuple[float, float]:
        return self.field.interval

    @property
    def forwards(self) -> int:
        return self.evaluations * self.forwards_per_evaluation

    def __call__(self, t: Tensor, x: Tensor) -> Tensor:
        self.nfe += 1
        self.evaluations += x.shape[0]
        return self.field(t, x)

    def part(self, index: Tensor | slice) -> CountingField:
        """Return a counter of its own around the part."""
        return CountingField(self.field.part(index))
