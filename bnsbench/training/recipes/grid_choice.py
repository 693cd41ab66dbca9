"""Time grids to start from: those on which rows regressed on true trajectories come nearest to the truth.

A greedy table costs no more than its own run, so that many grids can be tried on a few pairs, and the options of the best
of each family improved. Where samples have many dimensions, the grid whose greedy table is best is also the one from which a
descent has the shortest way; in few dimensions it says little of the end (`bnsbench.training.recipes.start`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from torch import Tensor

from bnsbench.errors import UsageError
from bnsbench.flows.paths import Path
from bnsbench.solvers.grids import NamedGrid
from bnsbench.training.optimisers.selection import mean_psnr
from bnsbench.training.problem import Cost
from bnsbench.training.recipes.initial import canonical_grid, greedy_run
from bnsbench.training.tuning.grid_search import Candidate, leaders, refine
from bnsbench.truth.pairs import Pairs

COARSE = (
    *(NamedGrid("kumaraswamy", (p, q)) for p in (1.0, 1.5, 2.0) for q in (1.0, 1.5, 2.0)),
    *(NamedGrid("logsnr", bounds) for bounds in ((-3.0, 3.0), (-4.0, 4.0), (-2.0, 3.0))),
)
"""Where the search begins, on the canonical path; Kumaraswamy's 1:1 is the uniform grid, and 1:2 the quadratic one."""
FAMILIES, ROUNDS = 2, 2
"""How many families' best grids are improved, and in how many rounds of steps in their options."""
TRIED = len(COARSE) + FAMILIES * ROUNDS * 5
"""Grids that a search tries, about: in a round, a step up and down in each of two options, and a jump."""


@dataclass
class GreedySearch:
    """Greedy tables on grids of the canonical path, each made once.

    Args:
        pairs: with trajectories, on which rows are regressed and tables judged.
        path: of the model.
        interval: of the model, on its path.
        steps: of the grids.
        data_range: of the model.
        cost: added to.
    """

    pairs: Pairs
    path: Path
    interval: tuple[float, float]
    steps: int
    data_range: float
    cost: Cost
    _known: dict[NamedGrid, Candidate] = field(default_factory=dict, repr=False)

    def best(self, count: int) -> list[NamedGrid]:
        """Return the best grids that are found, of different families first."""
        self._measured(COARSE)
        for leader in leaders(self._ranked(), FAMILIES):
            refine(leader, self._measured, ROUNDS)
        ranked = self._ranked()
        first = [each.grid for each in leaders(ranked, count)]
        return [*first, *(each.grid for each in ranked if each.grid not in first)][:count]

    def times(self, grid: NamedGrid) -> Tensor:
        """Return the times [steps + 1] of a grid on the model's path; UsageError if they do not increase there."""
        return canonical_grid(grid, self.path, self.interval, self.steps)

    def _ranked(self) -> list[Candidate]:
        return sorted(self._known.values(), key=lambda each: -each.psnr)

    def _measured(self, grids: Iterable[NamedGrid]) -> list[Candidate]:
        """Return those of the grids that there are here, with the PSNR of their greedy tables."""
        asked = list(grids)
        for grid in asked:
            if grid not in self._known:
                self._try(grid)
        return [self._known[grid] for grid in asked if grid in self._known]

    def _try(self, grid: NamedGrid) -> None:
        try:
            times = self.times(grid)
        except UsageError:  # it does not increase between these ends
            return
        table, rollout = greedy_run(times, self.pairs)
        self.cost.training += self.steps * len(self.pairs)
        errors = rollout.errors(self.pairs.x1.flatten(1))
        found = mean_psnr(errors, self.pairs.sample_weights(), self.data_range)
        self._known[grid] = Candidate("greedy", grid, table, found)
