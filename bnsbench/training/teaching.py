"""The truth that a training learns from: as fine as its student needs, and no finer.

A long table of a multistep rule comes within 50 to 60 dB of a network's truth in a quarter of the evaluations of an adaptive
rule, whose worst sample sets everybody's steps. Which rule comes nearest differs from field to field, so a few are measured
on a few samples; where the student comes near the best of them, the next finer teacher takes over. The truth of a test
stays exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

import torch
from torch import Tensor

from bnsbench.errors import DivergedError
from bnsbench.flows.fields import BatchField
from bnsbench.flows.paths import CANONICAL, Path
from bnsbench.nonstationary.change_of_path import canonical_times, on_path
from bnsbench.nonstationary.table import NonStationarySolver
from bnsbench.nonstationary.tracing import retrace
from bnsbench.solvers.adams_bashforth import adams_bashforth
from bnsbench.solvers.unipc import unipc
from bnsbench.training.optimisers.rollout import run
from bnsbench.training.problem import Cost, Problem
from bnsbench.truth.ground_truth import Solution, Trajectory
from bnsbench.truth.noise import Split
from bnsbench.truth.pairs import Pairs
from bnsbench.truth.psnr import psnr_per_sample
from bnsbench.truth.teacher import Adaptive, Teacher

LONG = (24, 32, 48, 64, 96)
"""Evaluations of the long tables."""
Rule = Callable[[BatchField, Tensor, int], Tensor]
RULES: dict[str, Rule] = {
    "unipc of order 3 on logsnr:-5:5": partial(unipc, order=3, grid="logsnr:-5:5"),
    "unipc of order 3 on logsnr:-5:7": partial(unipc, order=3, grid="logsnr:-5:7"),
    "ab4 on kumaraswamy:1.5:2": partial(adams_bashforth, order=4, grid="kumaraswamy:1.5:2"),
}
"""Rules of long tables on the canonical path, by name. The first two see networks best at few evaluations, but leave out the
ends of the interval, so that more evaluations make them hardly better; the third is the finest at many."""
TOLERANCES = (1e-5, 1e-6, 1e-7, 1e-8, 1e-9)
"""Of the adaptive rule, where no table is fine enough; none finer than the problem's own."""
MARGIN = 15.0
"""Decibels by which a truth has to be better than its student: an error of 15 dB less moves the student's by 3 %."""
LEAST_MARGIN = 10.0
"""Decibels below which a truth is too near to its student to go on with."""
EXACT = 160
"""Evaluations of an adaptive rule, about: 107 to 218 on the embedded models; 160 to 320 in Shaul et al. 2024."""
PROBED = 8
"""Samples on which the error of a teacher is measured, against the next finer one."""


@dataclass(frozen=True)
class LongTable:
    """A teacher that is a table of many evaluations.

    Args:
        table: For the path and interval of the fields that it solves.
        rule: What it is made of, for people.
    """

    table: NonStationarySolver
    rule: str

    @property
    def name(self) -> str:
        return f"{self.rule} at {self.table.nfe} NFE, {self.table.fingerprint()[:16]}"

    def ends(self, field: BatchField, x0: Tensor) -> Solution:
        """Return the states at both ends."""
        return self._solution(torch.stack([x0, self.table(field, x0)]), self.table.times[[0, -1]])

    def way(self, field: BatchField, x0: Tensor) -> tuple[Solution, Trajectory]:
        """Return them with the states and velocities of the table's own run, which cost nothing more."""
        rollout, times = run(self.table, field, x0), self.table.times
        x = rollout.states.reshape(-1, *x0.shape).to(x0.dtype)
        u = rollout.basis[1:].reshape(-1, *x0.shape).to(x0.dtype)
        # The velocity at the end is not evaluated: the one with which the last step is a parabola stands in its place.
        last = 2 * (x[-1] - x[-2]) / float(times[-1] - times[-2]) - u[-1]
        return self._solution(x, times), Trajectory(times, x, torch.cat([u, last[None]]))

    def _solution(self, states: Tensor, times: Tensor) -> Solution:
        finite = states[-1].flatten(1).isfinite().all(1).cpu()
        stopped = torch.full(finite.shape, math.nan, dtype=torch.float64)
        return Solution(times, states, self.table.nfe, torch.where(finite, stopped, float(times[-1])))


def long_table(rule: str, steps: int, path: Path, interval: tuple[float, float]) -> LongTable:
    """Return a rule's table of so many evaluations on the canonical path, told on a model's own.

    Args:
        rule: Of `RULES`.
        steps: Evaluations.
        path: The model's.
        interval: The model's, on its path.
    """
    ends = torch.tensor(interval, dtype=torch.float64)
    begin, end = canonical_times(ends, path).tolist()
    table = retrace(lambda field, x0: RULES[rule](field, x0, steps), CANONICAL, (begin, end), steps)
    return LongTable(on_path(table, CANONICAL, path, ends), rule)


def _different(tables: Iterable[LongTable]) -> tuple[LongTable, ...]:
    """Return the first of those that are one table: an interval may end before the grids of two rules differ."""
    found: dict[str, LongTable] = {}
    for each in tables:
        found.setdefault(each.table.fingerprint(), each)
    return tuple(found.values())


@dataclass
class Teaching:
    """The truth of one training.

    Args:
        problem: Whose source has the noise.
        cost: Counts what is solved.
        level: How fine the teacher at work is, of `levels` the first at the beginning.
        measured: By level, its best teacher and this one's PSNR in dB against a finer one.
    """

    problem: Problem
    cost: Cost
    level: int = 0
    measured: dict[int, tuple[Teacher, float]] = field(default_factory=dict)
    _known: dict[tuple[int, Split, bool], Pairs] = field(default_factory=dict, repr=False)
    _fine: dict[str, Tensor] = field(default_factory=dict, repr=False)

    @cached_property
    def levels(self) -> list[tuple[Teacher, ...]]:
        """The teachers to choose from, each level finer than the one before."""
        source = self.problem.source
        path, interval = source.model.path, source.model.interval
        tables = [_different(long_table(rule, steps, path, interval) for rule in RULES) for steps in LONG]
        coarser = [tolerance for tolerance in TOLERANCES if tolerance > source.truth_tolerance]
        return [*tables, *((Adaptive(tolerance, canonical=True),) for tolerance in (*coarser, source.truth_tolerance))]

    @property
    def teacher(self) -> Teacher:
        """The teacher at work."""
        return self._at_work[0]

    def pairs(self, split: Split, count: int, along: bool = False) -> Pairs:
        """Return the first pairs of a split, with their ways if ``along``; what has been solved is not solved again.

        Where a long table runs away, as on stiff fields, the adaptive rule takes over, and `level` is another one.

        Raises:
            DivergedError: if the adaptive rule cannot solve a sample.
        """
        own, way = (self.level, split, along), self._known.get((self.level, split, True))
        if not along and way is not None and len(way) >= count:
            return replace(way.part(slice(count)), trajectory=None)
        if own not in self._known or len(self._known[own]) < count:
            try:
                found = self._solved(split, count, along)
            except DivergedError:
                if self.level >= len(LONG):
                    raise
                self.level = len(LONG)
                return self.pairs(split, count, along)
            # Of coarser teachers, nothing is asked any more.
            self._known = {key: pairs for key, pairs in self._known.items() if key[0] == self.level} | {own: found}
        return self._known[own].part(slice(count))

    def _solved(self, split: Split, count: int, along: bool) -> Pairs:
        source = self.problem.source.taught(self.teacher, self.problem.effort.together)
        found = source.trajectories(split, count) if along else source.pairs(split, count)
        self.cost.truth(f"{split}, {self.teacher.name}", found)
        return found

    def outlay(self, split: Split, count: int) -> int:
        """Return what the first pairs of a split would cost, about, beyond what has been solved."""
        together = self.problem.effort.together
        solved = self.cost.truths.get(f"{split}, {self.teacher.name}", 0)
        return max(0, _evaluations(self.level) * together * math.ceil(count / together) - solved)

    def renewal(self) -> int:
        """Return what it would cost, about, to know that the next finer teacher is needed, and to solve the pairs by it."""
        unknown = self.problem.effort.probed and self.level + 1 not in self.measured
        probing = probing_cost(self.level + 1) if unknown else 0
        return probing + _evaluations(self.level + 1) * sum(len(pairs) for pairs in self._known.values())

    @property
    def least(self) -> int:
        """So many pairs that every guidance scale has one."""
        guidance = self.problem.source.guidance
        return len(guidance) if isinstance(guidance, tuple) else 1

    def sharpen(self, psnr: float) -> bool:
        """Take the first teacher from the present one on that can teach a student of that PSNR in dB.

        Returns:
            Whether it is another one, so that pairs have to be asked for again.
        """
        before = self.level
        while self.level + 1 < len(self.levels) and self.error() < psnr + MARGIN:
            self.level += 1
        return self.level != before

    def outgrown(self, psnr: float) -> bool:
        """Whether a student of that PSNR in dB is so near to the teacher at work that another one has to take over."""
        return self.level + 1 < len(self.levels) and self.error() < psnr + LEAST_MARGIN

    def error(self) -> float:
        """Return the PSNR in dB of the teacher at work, as far as a finer one can tell; inf for the finest."""
        return self._at_work[1]

    @property
    def _at_work(self) -> tuple[Teacher, float]:
        """The best teacher of the level, and its PSNR in dB.

        Tables are measured against an adaptive rule, since all of one rule leave out the same ends of the interval. Where a
        budget leaves nothing for measuring them, the first is trusted.
        """
        if self.level + 1 == len(self.levels):
            return self.levels[-1][0], math.inf
        if self.level not in self.measured and not self.problem.effort.probed:
            return self.levels[self.level][0], math.inf
        if self.level not in self.measured:
            (finer,) = self.levels[max(self.level + 1, len(LONG))]
            if finer.name not in self._fine:
                self._fine = {finer.name: self._probe(finer)}
            fine = self._fine[finer.name]
            found = [(teacher, self._error_against(fine, teacher)) for teacher in self.levels[self.level]]
            self.measured[self.level] = max(found, key=lambda each: each[1])
        return self.measured[self.level]

    def _error_against(self, fine: Tensor, teacher: Teacher) -> float:
        """Return the PSNR in dB of a teacher against finer end states; -inf if it runs away."""
        try:
            coarse = self._probe(teacher)
        except DivergedError:
            return -math.inf
        return float(psnr_per_sample(coarse, fine, self.problem.source.model.data_range).mean())

    def _probe(self, teacher: Teacher) -> Tensor:
        """Return the end states of the probed samples."""
        count = max(PROBED, self.least)
        found = self.problem.source.taught(teacher, count).pairs("train", count)
        self.cost.truth(f"error of {teacher.name}", found)
        return found.x1


def _evaluations(level: int) -> int:
    """Return the evaluations of a sample by the teacher of a level."""
    return LONG[level] if level < len(LONG) else EXACT


def probing_cost(level: int = 0) -> int:
    """Return what it costs, about, to measure the teachers of a level."""
    return PROBED * (EXACT + (len(RULES) * LONG[level] if level < len(LONG) else 0))
