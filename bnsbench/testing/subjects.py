"""A solver under test: it runs as in the benchmark, and the field records what it does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from bnsbench.contract.specs import SolverSpec
from bnsbench.errors import BnsbenchError, NotApplicableError
from bnsbench.flows.fields import BatchField, VelocityField
from bnsbench.flows.measured import Meter
from bnsbench.flows.paths import VP, CondOT, Path
from bnsbench.testing.problems import Case, guided_case
from bnsbench.testing.records import Subject

Setting = tuple[Path, tuple[float, float]]

SETTINGS: Sequence[Setting] = ((CondOT(), (0.1, 0.9)), (VP(), (0.0, 0.95)))
"""Paths and intervals on which solutions are smooth, so that orders show."""

USUAL_NFE = 8
_FAR_TOO_MANY = 1000


@dataclass(frozen=True)
class Run:
    """A run of a solver: its end states, the evaluations counted, and the times and precisions that it asked for."""

    x1: Tensor
    nfe: int
    times: tuple[float, ...]
    dtypes: frozenset[torch.dtype]


class SolverSubject(Subject[SolverSpec]):
    """A traced or direct solver under test."""

    def budgets(self) -> list[int]:
        """Return a few NFE that it declares it can spend."""
        declared = self.spec.budgets
        return [declared.minimum + k * declared.step for k in (0, 1, 2, 5)]

    def budget_from(self, nfe: int) -> int:
        """Return the smallest declared NFE of at least ``nfe``."""
        declared = self.spec.budgets
        return declared.minimum + declared.step * max(0, math.ceil((nfe - declared.minimum) / declared.step))

    @cached_property
    def settings(self) -> list[Setting]:
        """The paths and intervals that it does not refuse; NotApplicableError with its reason if it refuses all."""
        accepted, reason = [], ""
        for setting in SETTINGS:
            try:
                self.run(self.nfe, guided_case(*setting))
                accepted.append(setting)
            except NotApplicableError as error:
                reason = str(error)
        if not accepted:
            raise NotApplicableError(reason)
        return accepted

    @property
    def nfe(self) -> int:
        """An NFE that it can spend and that is usual."""
        return self.budget_from(USUAL_NFE)

    def usual_case(self, device: str = "cpu") -> Case:
        """Return a case that it does not refuse."""
        return guided_case(*self.settings[0], device)

    def sample(self, nfe: int, field: VelocityField, x0: Tensor) -> Tensor:
        """Return the solver's end states.

        Args:
            nfe: Evaluations to spend.
            field: The velocity field.
            x0: Initial states [batch, ...].
        """
        x1: Tensor = self.selection.make()(field, x0, nfe)
        return x1

    def run(self, nfe: int, case: Case) -> Run:
        """Run the solver on a case as the benchmark does: on a clone of the states, counted out of its reach."""
        watch = _Watch(case.field, nfe)
        meter = Meter(watch, case.x0)
        with torch.no_grad():
            x1 = self.sample(nfe, meter.field, case.x0.clone())
        meter.close()
        return Run(x1, meter.spent(nfe), tuple(watch.times), frozenset(watch.dtypes))


class _Watch:
    """A field that records times and precisions, and stops a solver that goes on without end."""

    def __init__(self, field: BatchField, nfe: int) -> None:
        self.field, self.nfe = field, nfe
        self.path, self.interval = field.path, field.interval
        self.forwards_per_evaluation = field.forwards_per_evaluation
        self.times: list[float] = []
        self.dtypes: set[torch.dtype] = set()

    def __call__(self, t: Tensor, x: Tensor) -> Tensor:
        self.times += torch.as_tensor(t).double().reshape(-1).tolist()
        self.dtypes.add(x.dtype)
        if len(self.times) > (self.nfe + _FAR_TOO_MANY) * len(x):
            raise BnsbenchError(f"no end: it was asked for {self.nfe} evaluations and has used {_FAR_TOO_MANY} more")
        return self.field(t, x)

    def part(self, index: Tensor | slice) -> _Watch:
        """Return a watch of its own around the part."""
        return _Watch(self.field.part(index), self.nfe)
