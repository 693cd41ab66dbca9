"""Velocity fields bound to a batch: what solvers see, and counting."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

from bnsbench.errors import NotApplicableError
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


@runtime_checkable
class HasAnswers(Protocol):
    """A field under classifier-free guidance that can give both answers of its network, and not only their mixture."""

    def answers(self, t: Tensor, x: Tensor, guidance: float) -> Tensor:
        """Return the velocities with the condition and without it, [2, batch, ...], in one evaluation.

        Args:
            t: Time, 0-d or [batch].
            x: States [batch, ...].
            guidance: The scale w that the field is expected to have.

        Raises:
            NotApplicableError: If it has another scale, or no answer without a condition.
        """


@dataclass(frozen=True)
class Columns:
    """A field as a table evaluates it: what the table may weigh of every evaluation, one column beside the other.

    Args:
        field: The field.
        guidance: None for tables that weigh its velocity; the scale w of those that weigh both answers under it apart.
    """

    field: VelocityField
    guidance: float | None = None

    @property
    def interval(self) -> tuple[float, float]:
        return self.field.interval

    def __call__(self, t: Tensor, x: Tensor) -> Tensor:
        """Return the columns [1 or 2, batch, ...] at states x [batch, ...] and times t, 0-d or [batch], by one evaluation.

        Raises:
            NotApplicableError: Where both answers are asked for and the field does not give them.
        """
        if self.guidance is None:
            return self.field(t, x)[None]
        if not isinstance(self.field, HasAnswers):
            raise NotApplicableError(
                "This table weighs the network's answers with and without the condition apart, and "
                f"{type(self.field).__name__} gives a velocity alone; a field with `answers` gives both."
            )
        return self.field.answers(t, x, self.guidance)


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
        self._count(x)
        return self.field(t, x)

    def answers(self, t: Tensor, x: Tensor, guidance: float) -> Tensor:
        """Return both answers of a guided field, which are one evaluation; see `HasAnswers`."""
        self._count(x)
        return Columns(self.field, guidance)(t, x)

    def _count(self, x: Tensor) -> None:
        self.nfe += 1
        self.evaluations += x.shape[0]

    def part(self, index: Tensor | slice) -> CountingField:
        """Return a counter of its own around the part."""
        return CountingField(self.field.part(index))
