"""Where training starts: time grids, greedy rows, classic solvers, and solvers trained for something else."""

from __future__ import annotations

from pathlib import Path as FilePath

import torch
from scipy.interpolate import PchipInterpolator
from torch import Tensor

from bnsbench.errors import NotApplicableError
from bnsbench.flows.fields import BatchField
from bnsbench.flows.guidance import guidance_in_words
from bnsbench.flows.paths import CANONICAL, Path
from bnsbench.nonstationary.artefact import SolverArtefact
from bnsbench.nonstationary.change_of_path import canonical_times, from_canonical_times
from bnsbench.nonstationary.table import NonStationarySolver
from bnsbench.nonstationary.tracing import trace
from bnsbench.solvers.grids import NamedGrid, time_grid
from bnsbench.training.objectives import LOG_MSE
from bnsbench.training.optimisers.rollout import Rollout, roll
from bnsbench.training.optimisers.row_regression import RowRegression
from bnsbench.training.optimisers.selection import psnr
from bnsbench.training.problem import Cost, Problem
from bnsbench.training.recipes.paper import precondition
from bnsbench.training.tuning.classics import classic
from bnsbench.truth.pairs import CHUNK, Pairs

ROW_PASSES, ROW_RIDGE = 2, 1e-11
"""Of the regression of a greedy row, whose errors the later rows can still make up for."""
ROW_FLOOR = 0.3
"""Share of the median error below which a sample's error weighs no more, lest a row hits single samples exactly."""
LAST_ROW_PASSES, LAST_ROW_RIDGE = 8, 1e-12
"""Of the regression of the last row, after which there is no other."""

START_GRIDS = ("uniform", "logsnr:-3:3", "quadratic")
"""Grids that between them suit the paths in use: steps equal in time, in log-SNR, and gathered at either end."""


def start_grids(path: Path, interval: tuple[float, float], steps: int) -> dict[str, Tensor]:
    """Return the grids [steps + 1] of START_GRIDS, by name."""
    return {name: time_grid(name, path, interval, steps) for name in START_GRIDS}


def canonical_grids(path: Path, interval: tuple[float, float], steps: int) -> dict[str, Tensor]:
    """Return the grids [steps + 1] of START_GRIDS by name, made on the canonical path: the same noise levels on any path."""
    return {name: canonical_grid(name, path, interval, steps) for name in START_GRIDS}


def canonical_grid(grid: str | NamedGrid, path: Path, interval: tuple[float, float], steps: int) -> Tensor:
    """Return the times [steps + 1] on a path of the noise levels that a grid has on the canonical one.

    UsageError if they do not increase there.
    """
    begin, end = canonical_times(torch.tensor(interval, dtype=torch.float64), path).tolist()
    return from_canonical_times(time_grid(grid, CANONICAL, (begin, end), steps), path, interval)


def transfer_times(times: Tensor, n: int, path: Path = CANONICAL) -> Tensor:
    """Return a grid [n + 1] that follows the shape of another: monotone cubic interpolation of i / n -> t_i.

    Args:
        times: the other grid.
        n: steps.
        path: on which the times are; they are interpolated on the canonical one.
    """
    if path != CANONICAL:
        found = transfer_times(canonical_times(times, path), n)
        return from_canonical_times(found, path, (float(times[0]), float(times[-1])))
    known = torch.linspace(0, 1, len(times), dtype=torch.float64)
    shape = PchipInterpolator(known.numpy(), times.numpy())
    new = torch.from_numpy(shape(torch.linspace(0, 1, n + 1, dtype=torch.float64).numpy()))
    new[0], new[-1] = times[0], times[-1]
    return new


def greedy_table(times: Tensor, pairs: Pairs) -> NonStationarySolver:
    """Return the table on ``times`` [n + 1] whose rows, one after the other, regress the true trajectory's next state."""
    return greedy_run(times, pairs)[0]


def greedy_run(times: Tensor, pairs: Pairs) -> tuple[NonStationarySolver, Rollout]:
    """Return the greedy table on ``times`` [n + 1] with its run on the pairs, which its rows are regressed along."""
    trajectory = pairs.trajectory
    if trajectory is None:
        raise ValueError("greedy_run needs pairs with their trajectories")
    n, weights = len(times) - 1, pairs.sample_weights()
    rows = torch.zeros(n, n + 1, dtype=torch.float64)

    def regressed(i: int, basis: Tensor) -> Tensor:
        """Fill row i, by which x_0 and the velocities come nearest to x*(t_{i+1}), and return the state x_{i+1}."""
        last = i == n - 1
        target = pairs.x1 if last else trajectory.at(float(times[i + 1]))
        passes, ridge = (LAST_ROW_PASSES, LAST_ROW_RIDGE) if last else (ROW_PASSES, ROW_RIDGE)
        regression = RowRegression(basis, target.flatten(1), weights)
        rows[i, : i + 2] = regression.solve(LOG_MSE, passes, ridge, share=ROW_FLOOR)
        state: Tensor = torch.tensordot(rows[i, : i + 2].to(basis), basis, dims=1)
        return state

    rollout = roll(times, pairs.field, pairs.x0, regressed)
    return NonStationarySolver.from_rows(times, rows), rollout


def greedy_start(problem: Problem, grids: dict[str, Tensor], cost: Cost) -> tuple[NonStationarySolver, str]:
    """Return the best greedy table over grids [n + 1] by name, by PSNR on the pairs it was regressed on, and its name."""
    pairs = _pairs_to_follow(problem, cost)
    data_range = problem.source.model.data_range
    tables = {name: greedy_table(times, pairs) for name, times in grids.items()}
    cost.training += sum(2 * table.nfe * len(pairs) for table in tables.values())
    best = max(tables, key=lambda name: psnr(tables[name], pairs, data_range))
    return tables[best], f"greedy on {best}"


def given_start(problem: Problem, nfe: int, start: str, sigma_0: float, cost: Cost) -> tuple[NonStationarySolver, str]:
    """Return the table to start from that a user names, and its name.

    A classic start is seldom better than the default one and may be far worse, because the descent ends in another optimum:
    `bnsbench.training.recipes.cautions` has what was measured, and tells users.

    Args:
        problem: the field to train for.
        nfe: evaluations of the table.
        start: "greedy"; the file of a trained solver, for any NFE, guidance, model or path; or a classic solver's selector,
            preconditioned and its repeated times opened by a small gap.
        sigma_0: of the preconditioning.
        cost: added to.

    Raises:
        NotApplicableError: for a rule that cannot spend ``nfe``.
    """
    model = problem.source.model
    if start == "greedy":
        return greedy_start(problem, start_grids(model.path, model.interval, nfe), cost)
    if start.endswith(".json"):
        return _from_file(problem, nfe, SolverArtefact.load(FilePath(start)), cost)
    rule = classic(problem, start)

    def plain(field: BatchField, x0: Tensor) -> Tensor:
        return rule.sample(field, x0, nfe)

    sampler = plain if sigma_0 == 1 else precondition(rule.sample, sigma_0, nfe)
    table = trace(sampler, model.path, model.interval)
    if table.nfe != nfe:
        raise NotApplicableError(f"The solver {start!r} spends {table.nfe} evaluations instead of {nfe}.")
    return table.with_open_gaps(), start if sigma_0 == 1 else f"{start} sigma_0={sigma_0:g}"


def _from_file(problem: Problem, nfe: int, artefact: SolverArtefact, cost: Cost) -> tuple[NonStationarySolver, str]:
    """Return the file's table, or, for another NFE or path or split columns, greedy rows on its times at equal log-SNR."""
    model, solver = problem.source.model, artefact.solver
    name = f"{artefact.name} at {solver.nfe} NFE for {artefact.model} w={guidance_in_words(artefact.guidance)}"
    same = artefact.path == model.path and artefact.interval == model.interval
    if same and solver.nfe == nfe and solver.guidance is None:
        return solver.with_open_gaps(), name
    times = solver.times if same else _carry_over(solver.times, artefact.path, model.path, model.interval)
    table, _ = greedy_start(problem, {name: transfer_times(times, nfe, model.path)}, cost)
    return table, f"greedy on {name}"


def _carry_over(times: Tensor, path: Path, other: Path, interval: tuple[float, float]) -> Tensor:
    """Return times of the same log-SNR on another path, from one end of its interval to the other."""
    carried = other.time(path.log_snr(times)).clamp(*interval)
    carried[0], carried[-1] = interval
    rows = torch.zeros(len(times) - 1, len(times), dtype=torch.float64)
    return NonStationarySolver.from_rows(carried, rows).with_open_gaps().times


def _pairs_to_follow(problem: Problem, cost: Cost) -> Pairs:
    """Return the pairs with trajectories on which rows are regressed."""
    source, count = problem.source, min(CHUNK, problem.effort.judged)
    # A budget may allow fewer of them, which are solved by themselves.
    few = source if count == CHUNK else source.coarser(source.truth_tolerance, count)
    pairs = few.trajectories("train", count)
    cost.truth("train, trajectories", pairs)
    return pairs
