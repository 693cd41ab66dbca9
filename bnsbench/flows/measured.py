"""The velocity field as solvers get it: it can be evaluated and nothing else, and its evaluations are counted out of reach.

A solver that could reach the counter, the bare field or the model could report any NFE. So the object that it gets is empty:
field and count are looked up by its identity, in a dictionary of this module.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.autograd import forward_ad

from bnsbench.errors import BnsbenchError
from bnsbench.flows.fields import BatchField, Columns, HasConditional, conditional_of
from bnsbench.flows.guidance import one_scale
from bnsbench.flows.paths import Path


class SolverField:
    """A velocity field u_t(x) of one batch as solvers get it: path, interval, guidance, evaluation, parts of the batch."""

    __slots__ = ("__weakref__",)

    @property
    def path(self) -> Path:
        """The Gaussian path on which the model was trained."""
        return _bound(self).field.path

    @property
    def interval(self) -> tuple[float, float]:
        """The times (t_begin, t_end) on which it may be evaluated."""
        return _bound(self).field.interval

    def __call__(self, t: Tensor, x: Tensor) -> Tensor:
        """Return u_t(x), shaped like x [batch, ...]; t is 0-d or [batch]. It cannot be differentiated or vectorised."""
        return _bound(self).evaluate(t, x)[0]

    @property
    def guidance(self) -> float:
        """The scale w of its classifier-free guidance, 0 where there is none; NotApplicableError if samples differ in it."""
        field = _bound(self).field
        return one_scale(field.guidance) if isinstance(field, HasConditional) else 0.0

    def answers(self, t: Tensor, x: Tensor, guidance: float) -> Tensor:
        """Return both answers of a guided field [2, batch, ...], which count as one evaluation; see `HasAnswers`."""
        return _bound(self).evaluate(t, x, guidance)

    def conditional(self, t: Tensor, x: Tensor) -> Tensor:
        """Return the answer with the condition [batch, ...] of a guided field: half an evaluation; see `HasConditional`."""
        return _bound(self).conditional(t, x)

    def part(self, index: Tensor | slice) -> SolverField:
        """Return the field for the samples ``index`` of the batch; what it is asked counts for these samples."""
        return _seal(_bound(self).part(index))


class Meter:
    """A counter of the evaluations that one run of a solver spends through ``field``, a `SolverField` made for it.

    A call on a tensor as large as k batches is k evaluations of every sample, and a call on less than the batch is one of
    every sample, since the field cannot tell which samples it was meant for: `SolverField.part` can.
    """

    def __init__(self, field: BatchField, x0: Tensor) -> None:
        """Bind the field to a run that starts from x0 [batch, ...]."""
        self._tally = _Tally(torch.zeros(len(x0), dtype=torch.int64), x0[0].numel())
        self.field = _seal(_Bound(field, self._tally, torch.arange(len(x0))))

    def spent(self, asked: int) -> int:
        """Return the evaluations per sample: ``asked`` if every sample had exactly that many, else the most or the least.

        The most is rounded up to whole evaluations, and the least down.
        """
        halves = self._tally.halves
        most = -(-int(halves.max()) // 2)
        least = min(int(halves.min()), self._tally.rows // len(halves)) // 2
        return most if most > asked else least

    def close(self) -> None:
        """End the run: whoever evaluates the field afterwards gets an error."""
        self._tally.open = False


@dataclass
class _Tally:
    """Halves of evaluations of each sample [batch], and of all rows, and the numbers that make a row."""

    halves: Tensor
    numbers: int
    rows: int = 0
    open: bool = True

    def add(self, positions: Tensor, numbers: int, halves: int = 2) -> None:
        # Samples are counted by their numbers, so that reshaping states hides none; the count is rounded up.
        rows = -(-numbers // self.numbers)
        self.rows += halves * rows
        # Rows of a part without samples were evaluated for nobody in particular: everybody pays.
        charged = positions if len(positions) or not rows else torch.arange(len(self.halves))
        # Rows are shared equally by the samples that asked, rounded up; each pays at least one.
        if len(charged):
            times = max(1, -(-rows // len(charged)))
            self.halves.index_add_(0, charged, torch.full_like(charged, halves * times))


@dataclass(frozen=True)
class _Bound:
    """What stands behind a `SolverField`: the real field of the samples at these positions of the batch."""

    field: BatchField
    tally: _Tally
    positions: Tensor

    def evaluate(self, t: Tensor, x: Tensor, guidance: float | None = None) -> Tensor:
        """Return the field's velocity, or both of its answers under guidance, [columns, batch, ...]."""
        return self._evaluate(Columns(self.field, guidance), t, x, halves=2)

    def conditional(self, t: Tensor, x: Tensor) -> Tensor:
        """Return the answer with the condition alone [batch, ...]."""
        return self._evaluate(lambda t, x: conditional_of(self.field, t, x)[None], t, x, halves=1)[0]

    def _evaluate(self, field: Callable[[Tensor, Tensor], Tensor], t: Tensor, x: Tensor, halves: int) -> Tensor:
        if not self.tally.open:
            raise BnsbenchError("its field was evaluated after the run that it was made for")
        t, x = _plain(t), _plain(x)
        self.tally.add(self.positions, x.numel(), halves)
        with torch.no_grad():
            found = field(t, x)
        if found.shape[1:] != x.shape:
            raise BnsbenchError(f"the field returned velocities of shape {list(found.shape[1:])} for states {list(x.shape)}")
        return found

    def part(self, index: Tensor | slice) -> _Bound:
        own = index.to(self.positions.device) if isinstance(index, Tensor) else index
        return _Bound(self.field.part(index), self.tally, self.positions[own])


_BOUND: WeakKeyDictionary[SolverField, _Bound] = WeakKeyDictionary()


def _seal(bound: _Bound) -> SolverField:
    field = SolverField()
    _BOUND[field] = bound
    return field


def _bound(field: SolverField) -> _Bound:
    found = _BOUND.get(field)
    if found is None:
        raise BnsbenchError("a copy of the field cannot be evaluated")
    return found


def _plain(values: Tensor) -> Tensor:
    """Return the real numbers alone; BnsbenchError where one call could stand for many evaluations.

    That is so inside transforms such as vmap, for complex states, which carry a derivative along, and for subclasses of
    tensors, which may say and do anything.
    """
    if torch._C._functorch.is_functorch_wrapped_tensor(values):
        raise BnsbenchError("the field cannot be evaluated under torch.func transforms, which hide evaluations")
    primal: Tensor = forward_ad.unpack_dual(values).primal  # type: ignore[no-untyped-call]
    plain = primal.detach()
    if type(plain) is not Tensor or plain.is_complex():
        kind = "complex states" if type(plain) is Tensor else type(plain).__name__
        raise BnsbenchError(f"the field is evaluated at plain tensors of real numbers, not at {kind}")
    return plain
