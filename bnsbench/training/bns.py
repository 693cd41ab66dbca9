"""BNS: a free non-stationary solver trained for one field and one NFE (Shaul et al., ICML 2024).

The default recipe starts from rows regressed on ground-truth trajectories, descends by sketched Gauss-Newton and climbs a
ladder over NFE, each rung starting from the time grid of the one below. ``recipe="paper"`` is the published one.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from torch import Tensor

from bnsbench.errors import UsageError
from bnsbench.nonstationary.artefact import SolverArtefact
from bnsbench.training.descent import artefact, descend
from bnsbench.training.greedy import greedy_table
from bnsbench.training.paper import PaperRecipe, train_paper
from bnsbench.training.parametrisations import FreeTable
from bnsbench.training.problem import Cost, Problem
from bnsbench.training.selection import psnr
from bnsbench.training.starts import start_grids
from bnsbench.training.table import Table, transfer_times

LADDER = (4, 6, 8, 12, 16, 20, 24, 32)
"""NFE of the rungs; a rung's time grid starts the next one's."""


def train_bns(problem: Problem, nfe: int, recipe: str = "default", pairs: int = 0, iterations: int = 0) -> SolverArtefact:
    """Train a BNS solver with ``nfe`` evaluations.

    recipe: "default" or "paper". pairs and iterations: 0 means the recipe's own number.
    Raises UsageError for an unknown recipe, DivergedError if no table gives finite samples.
    """
    began = time.perf_counter()
    if recipe == "paper":
        published = PaperRecipe()
        chosen = replace(published, pairs=pairs or published.pairs, iterations=iterations or published.iterations)
        table, record = train_paper(problem, nfe, chosen)
    elif recipe == "default":
        table, record = _train_default(problem, nfe, pairs, iterations)
    else:
        raise UsageError(f"There is no BNS recipe {recipe!r}; choose 'default' or 'paper'.")
    name = "bns" if recipe == "default" else f"bns[recipe={recipe}]"
    return artefact(problem, name, table, {"recipe": recipe, **record}, began)


def rung_below(nfe: int) -> int | None:
    """The NFE whose solver starts the one for ``nfe``, or None at the foot of the ladder."""
    below = [rung for rung in LADDER if rung < nfe]
    return max(below) if below and nfe > LADDER[0] else None


def _train_default(problem: Problem, nfe: int, pairs: int, iterations: int) -> tuple[Table, dict[str, Any]]:
    cost = Cost()
    start, grid = _greedy_start(problem, nfe, cost)
    table, record = descend(problem, nfe, FreeTable(start), cost, pairs, iterations)
    return table, {"start": grid, **record}


def _greedy_start(problem: Problem, nfe: int, cost: Cost) -> tuple[Table, str]:
    """Return the best greedy table over the candidate grids, and the name of its grid."""
    pairs, trajectory = problem.source.trajectory("train")
    cost.teacher += round(pairs.nfe * len(pairs))
    data_range = problem.source.model.data_range
    tables: dict[str, Table] = {}
    for name, times in _first_times(problem, nfe).items():
        tables[name] = greedy_table(times, pairs.field, pairs.x0, trajectory)
        cost.training += 2 * nfe * len(pairs)
    best = max(tables, key=lambda name: psnr(tables[name], pairs, data_range))
    return tables[best], best


def _first_times(problem: Problem, nfe: int) -> dict[str, Tensor]:
    model = problem.source.model
    below = rung_below(nfe)
    if below is None or problem.previous is None:
        return start_grids(model.path, model.interval, nfe)
    return {f"bns at {below} NFE": transfer_times(problem.previous(below).solver.times, nfe)}
