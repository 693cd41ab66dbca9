"""Velocity fields bound to a batch: what solvers see, and counting."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.autograd import forward_ad

from bnsbench.errors import NotApplicableError
from bnsbench.flows.guidance import Guidance
from bnsbench.flows.paths import Path
from bnsbench.process.parts import Parts


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


def parts_of(field: VelocityField) -> Parts:
    """Return what is known of how many samples a field takes at once."""
    known = getattr(field, "parts", None)
    return known if isinstance(known, Parts) else Parts()


def restricted(field: BatchField, part: slice, count: int) -> BatchField:
    """Return the field of a part of its ``count`` samples; the field itself if that is all of them."""
    return field if part == slice(0, count) else field.part(part)


def in_parts(
    parts: Parts, evaluate: Callable[[slice, Tensor, Tensor], Tensor], t: Tensor, x: Tensor, axis: int = 0
) -> Tensor:
    """Return velocities [batch, ...] that are evaluated in parts that fit into memory.

    Where autograd follows, it is all at once: the graphs of all parts would be held together, so that whoever wants
    gradients takes the samples in parts himself.

    Args:
        parts: How many samples fit.
        evaluate: Returns the velocities of the samples of a part, for their times and states.
        t: Time, 0-d or [batch].
        x: States [batch, ...].
        axis: Of the samples in what is evaluated.
    """
    everything = slice(0, len(x) if x.ndim else 1)
    if not x.ndim or (torch.is_grad_enabled() and (x.requires_grad or t.requires_grad)):
        return evaluate(everything, t, x)

    def do(part: slice) -> Tensor:
        return evaluate(part, t, x) if part == everything else evaluate(part, t if t.ndim == 0 else t[part], x[part])

    found = parts.each("tangents" if _is_dual(x) or _is_dual(t) else "values", len(x), do)
    return found[0] if len(found) == 1 else torch.cat(found, axis)


def _is_dual(value: Tensor) -> bool:
    return forward_ad.unpack_dual(value).tangent is not None  # type: ignore[no-untyped-call]


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


@runtime_checkable
class HasConditional(VelocityField, HasAnswers, Protocol):
    """A velocity field under classifier-free guidance that can leave out its network's answer without a condition.

    guidance: the scale w.
    """

    @property
    def guidance(self) -> Guidance: ...

    def conditional(self, t: Tensor, x: Tensor) -> Tensor:
        """Return the velocity with the condition, shaped like x, for half the forwards of an evaluation.

        Args:
            t: Time, 0-d or [batch].
            x: States [batch, ...].

        Raises:
            NotApplicableError: If an evaluation is not one forward with the condition and one without it.
        """


def conditional_of(field: VelocityField, t: Tensor, x: Tensor) -> Tensor:
    """Return a field's answer with the condition alone; NotApplicableError if it gives a velocity and nothing else."""
    if not isinstance(field, HasConditional):
        raise NotApplicableError(f"{type(field).__name__} gives a velocity alone, and not its network's answers.")
    return field.conditional(t, x)


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
        self.parts = Parts()

    def __call__(self, t: Tensor, x: Tensor) -> Tensor:
        return in_parts(self.parts, lambda _, own_t, own_x: self.function(own_t, own_x), t, x)

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
