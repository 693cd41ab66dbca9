"""The start of a BNS training, chosen by what it becomes: the best of a few that have descended a little.

The grid whose regressed rows are best says little of where a descent from there ends, so the best few starts are all taken a
few steps, on few pairs, and judged on validation pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from bnsbench.flows.paths import CANONICAL
from bnsbench.nonstationary.change_of_path import on_path
from bnsbench.nonstationary.table import NonStationarySolver
from bnsbench.training.distil import Choices
from bnsbench.training.families.parametrisation import FreeTable
from bnsbench.training.floor import floor_under, share_at
from bnsbench.training.objectives import LOG_MSE
from bnsbench.training.optimisers.forward_derivatives import Derivative
from bnsbench.training.optimisers.gauss_newton import GaussNewton, Iterate
from bnsbench.training.optimisers.rollout import run
from bnsbench.training.optimisers.selection import mean_psnr
from bnsbench.training.problem import Cost, Problem
from bnsbench.training.recipes.grid_choice import GreedySearch
from bnsbench.training.recipes.initial import canonical_grids, greedy_table, transfer_times
from bnsbench.training.teaching import Teaching
from bnsbench.truth.pairs import Pairs

FOLLOWED = 32
"""Pairs on whose trajectories rows are regressed."""
DAMPING = 1e-3
"""Of the first step."""
GROWTH = 5.0
"""Decibels by which a descent lifts a start, about, so that the truth is fine enough for what comes of it."""


@dataclass(frozen=True)
class Start:
    """Where a training starts.

    Args:
        table: the table.
        name: what it has come from.
        rivals: tables that are known besides, which a training must not fall behind.
        tried: by name, the validation PSNR in dB of every start that has descended.
        steps: that it has taken.
    """

    table: NonStationarySolver
    name: str
    rivals: tuple[NonStationarySolver, ...] = ()
    tried: dict[str, float] | None = None
    steps: int = 0

    def record(self) -> dict[str, Any]:
        """Return what the training record says of it."""
        return {"name": self.name, "table": self.table.to_dict(), "tried": self.tried or {}}


def allowed(count: int, choices: Choices, teaching: Teaching) -> int:
    """Return as many pairs as are asked for and allowed, of every guidance scale one."""
    return max(min(count, choices.pairs or count), teaching.least)


def choose_start(
    problem: Problem, nfe: int, below: NonStationarySolver | None, teaching: Teaching, choices: Choices
) -> Start:
    """Return the best start for a table of ``nfe`` evaluations.

    Args:
        problem: the field to train for.
        nfe: evaluations of the table.
        below: a table of fewer evaluations that has been trained for the field, if there is one.
        teaching: the truth, whose cost is counted with what is spent here.
        choices: of the training that begins here, its derivative settled; no more pairs are taken than it has, and no lower
            floor.

    Raises:
        DivergedError: if a sample of the pairs has no truth.
    """
    model, cost = problem.source.model, teaching.cost
    effort = problem.effort
    pairs = teaching.pairs("train", pairs_followed(problem, choices, teaching), along=True)
    # Rows regressed on grids: the best of a search or those of known shapes, and the trained times of the table below.
    grids = _grids(problem, nfe, pairs, teaching)
    if below is not None:
        grids[f"those of {below.nfe} NFE"] = transfer_times(below.times, nfe, model.path)
    tables = {f"greedy on {name}": greedy_table(times, pairs) for name, times in grids.items()}
    cost.training += len(tables) * nfe * len(pairs)
    # The table below with idle evaluations, than which no table of more evaluations need be worse.
    rivals = () if below is None else (_with_idle(below, nfe, problem),)
    tables |= {f"{below.nfe} NFE and idle evaluations": rival for rival in rivals if below is not None}
    if not effort.race:
        return _best_at_once(tables, rivals, problem, teaching)
    few = pairs.part(slice(allowed(effort.race[0][0], choices, teaching)))
    attempts = [Attempt(name, problem, table, few, teaching, choices) for name, table in tables.items()]
    # A truth that is fine enough for what they become.
    teaching.sharpen(max(attempt.psnr for attempt in attempts) + GROWTH)
    validation = teaching.pairs("validation", problem.effort.validation)
    tried: dict[str, float] = {}
    for count, steps, left in problem.effort.race:
        few = teaching.pairs("train", allowed(count, choices, teaching))
        for attempt in attempts:
            attempt.descend(few, steps)
        errors = {attempt.name: attempt.errors_on(validation) for attempt in attempts}
        ranked = _ranked(errors)
        tried |= {name: mean_psnr(errors[name], validation.sample_weights(), model.data_range) for name in ranked}
        attempts = sorted(attempts, key=lambda attempt: ranked.index(attempt.name))[:left]
    return Start(attempts[0].table, attempts[0].name, rivals, tried, attempts[0].steps)


def _grids(problem: Problem, nfe: int, pairs: Pairs, teaching: Teaching) -> dict[str, Tensor]:
    """Return the grids [nfe + 1] to start from, by name."""
    model, effort = problem.source.model, problem.effort
    if not effort.searched:
        return dict(list(canonical_grids(model.path, model.interval, nfe).items())[: effort.starts])
    few = pairs.part(slice(max(effort.searched, teaching.least)))
    search = GreedySearch(few, model.path, model.interval, nfe, model.data_range, teaching.cost)
    return {str(grid): search.times(grid) for grid in search.best(effort.starts)}


def _best_at_once(
    tables: dict[str, NonStationarySolver],
    rivals: tuple[NonStationarySolver, ...],
    problem: Problem,
    teaching: Teaching,
) -> Start:
    """Return the table that is best on the validation pairs, where a budget has no room for a race."""
    if len(tables) == 1:
        return Start(next(iter(tables.values())), next(iter(tables)), rivals)
    validation = teaching.pairs("validation", max(problem.effort.validation, teaching.least))
    errors = {name: _errors_on(validation, table, teaching.cost) for name, table in tables.items()}
    weights, data_range = validation.sample_weights(), problem.source.model.data_range
    tried = {name: mean_psnr(each, weights, data_range) for name, each in errors.items()}
    best = _ranked(errors)[0]
    return Start(tables[best], best, rivals, tried)


def _ranked(errors: dict[str, Tensor]) -> list[str]:
    """Return the names of starts by their errors [N] on the same pairs, the best first."""
    return sorted(errors, key=lambda name: _loss(errors[name], list(errors.values())))


def _errors_on(pairs: Pairs, table: NonStationarySolver, cost: Cost) -> Tensor:
    """Return a table's error on each of the pairs [N], counted as validation."""
    cost.validation += table.nfe * len(pairs)
    return run(table, pairs.field, pairs.x0).errors(pairs.x1.flatten(1)).cpu()


def pairs_followed(problem: Problem, choices: Choices, teaching: Teaching) -> int:
    """Return the number of pairs on whose trajectories rows are regressed, of which a budget may allow fewer."""
    return allowed(min(FOLLOWED, problem.effort.followed), choices, teaching)


class Attempt:
    """A start that descends a few steps on few pairs.

    Args:
        name: what it has come from.
        problem: the field to train for.
        table: the start.
        pairs: to look at it on.
        teaching: whose cost is added to.
        choices: of the training, for its floor and how the network is differentiated.
    """

    def __init__(
        self,
        name: str,
        problem: Problem,
        table: NonStationarySolver,
        pairs: Pairs,
        teaching: Teaching,
        choices: Choices,
    ) -> None:
        self.name, self.problem, self.cost, self.choices = name, problem, teaching.cost, choices
        self.damping, self.steps = DAMPING, 0
        self.family = FreeTable(table.with_open_gaps(), problem.source.model.path)
        self.newton, self.iterate = self._on(pairs, self.family.start())

    def descend(self, pairs: Pairs, steps: int) -> None:
        """Take so many steps on these pairs."""
        self.newton, self.iterate = self._on(pairs, self.iterate.theta)
        for _ in range(steps):
            floor = floor_under(share_at(self.steps, self.choices.floor), self.iterate.errors)
            self.iterate = self.newton.under(floor, self.iterate)
            self.iterate, self.damping = self.newton.step(self.iterate, self.steps, self.damping)
            self.steps += 1

    @property
    def table(self) -> NonStationarySolver:
        """The table that it has become."""
        return self.iterate.table

    @property
    def psnr(self) -> float:
        """The PSNR on its pairs in dB."""
        weights = self.newton.pairs.sample_weights()
        return mean_psnr(self.iterate.errors, weights, self.problem.source.model.data_range)

    def errors_on(self, pairs: Pairs) -> Tensor:
        """Return its table's error on each of other pairs [N]."""
        return _errors_on(pairs, self.table, self.cost)

    def _on(self, pairs: Pairs, theta: Tensor) -> tuple[GaussNewton, Iterate]:
        source = self.problem.source
        newton = GaussNewton(
            self.family,
            LOG_MSE,
            pairs,
            self.cost,
            source.seed,
            cast("Derivative", self.choices.derivative),
            source.model.dtype,
            self.choices.recomputed,
        )
        return newton, newton.evaluate(theta)


def _loss(errors: Tensor, all_errors: list[Tensor]) -> float:
    """Return the mean log error under a floor of the least median of all that are compared; inf if one is not finite."""
    value = float((errors + floor_under(1.0, *all_errors)).log().mean())
    return value if bool(errors.isfinite().all()) else torch.inf


def _with_idle(table: NonStationarySolver, nfe: int, problem: Problem) -> NonStationarySolver:
    """Return the table with idle evaluations in the widest gaps of the canonical path."""
    path = problem.source.model.path
    return on_path(on_path(table, path, CANONICAL).with_idle(nfe), CANONICAL, path, table.times[[0, -1]])
