"""Where training starts: time grids, greedy rows, classic solvers, and solvers trained for something else."""

from __future__ import annotations

from pathlib import Path as FilePath

import torch
from torch import Tensor

from bnsbench.errors import NotApplicableError
from bnsbench.flows.fields import BatchField
from bnsbench.flows.paths import Path
from bnsbench.nonstationary.artefact import SolverArtefact
from bnsbench.nonstationary.tracing import trace
from bnsbench.solvers.grids import time_grid
from bnsbench.training.classics import classic
from bnsbench.training.families.table import Table, transfer_times
from bnsbench.training.optimisers.row_regression import greedy_table
from bnsbench.training.optimisers.selection import psnr
from bnsbench.training.problem import Cost, Problem
from bnsbench.training.recipes.paper import preconditioned
from bnsbench.truth.mixed_source import guidance_in_words
from bnsbench.truth.pairs import CHUNK, Pairs

START_GRIDS = ("uniform", "shifted:3", "logsnr:-3:3", "logsnr:-5:5", "quadratic")
"""Grids that between them suit the paths in use: steps equal in time, in log-SNR, and gathered at either end."""


def start_grids(path: Path, interval: tuple[float, float], steps: int) -> dict[str, Tensor]:
    """Return the grids [steps + 1] of START_GRIDS, by name."""
    return {name: time_grid(name, path, interval, steps) for name in START_GRIDS}


def greedy_start(problem: Problem, grids: dict[str, Tensor], cost: Cost) -> tuple[Table, str]:
    """Return the best greedy table over grids [n + 1] by name, by PSNR on the pairs it was regressed on, and its name."""
    pairs = _guides(problem, cost)
    data_range = problem.source.model.data_range
    tables = {name: greedy_table(times, pairs) for name, times in grids.items()}
    cost.training += sum(2 * table.n * len(pairs) for table in tables.values())
    best = max(tables, key=lambda name: psnr(tables[name], pairs, data_range))
    return tables[best], f"greedy on {best}"


def given_start(problem: Problem, nfe: int, start: str, sigma_0: float, cost: Cost) -> tuple[Table, str]:
    """Return the table to start from that a user names, and its name.

    start: "greedy"; the file of a trained solver, for any NFE, guidance, model or path; or a classic solver's selector,
    preconditioned by ``sigma_0`` and its repeated times opened by a small gap. NotApplicableError for a rule that cannot
    spend ``nfe``.

    A classic start is seldom better than the default one and may be far worse, because the descent ends in another optimum.
    sigma_0 above 1 is for high guidance: without guidance it places the steps where little happens. Measured on `ring8`
    without guidance at 4 NFE (256 pairs, one seed; PSNR of 512 test samples in dB):
        path      default   euler   euler, sigma_0 = 5   midpoint   unipc
        condot       66.8    45.6                 24.1       43.4    45.6
        vp           50.7    46.8                 23.9       46.9    24.9
    """
    model = problem.source.model
    if start == "greedy":
        return greedy_start(problem, start_grids(model.path, model.interval, nfe), cost)
    if start.endswith(".json"):
        return _from_file(problem, nfe, SolverArtefact.load(FilePath(start)), cost)
    rule = classic(problem, start)

    def plain(field: BatchField, x0: Tensor) -> Tensor:
        return rule.sample(field, x0, nfe)

    sampler = plain if sigma_0 == 1 else preconditioned(rule.sample, sigma_0, nfe)
    table = Table.of(trace(sampler, model.path, model.interval))
    if table.n != nfe:
        raise NotApplicableError(f"The solver {start!r} spends {table.n} evaluations instead of {nfe}.")
    return table.opened(), start if sigma_0 == 1 else f"{start} sigma_0={sigma_0:g}"


def _from_file(problem: Problem, nfe: int, artefact: SolverArtefact, cost: Cost) -> tuple[Table, str]:
    """Return the file's table, or, for another NFE or path, greedy rows on its times carried over at equal log-SNR."""
    model, solver = problem.source.model, artefact.solver
    name = f"{artefact.name} at {solver.nfe} NFE for {artefact.model} w={guidance_in_words(artefact.guidance)}"
    same = artefact.path == model.path and artefact.interval == model.interval
    if same and solver.nfe == nfe:
        return Table.of(solver).opened(), name
    times = solver.times if same else _carried(solver.times, artefact.path, model.path, model.interval)
    table, _ = greedy_start(problem, {name: transfer_times(times, nfe)}, cost)
    return table, f"greedy on {name}"


def _carried(times: Tensor, path: Path, other: Path, interval: tuple[float, float]) -> Tensor:
    """Return times of the same log-SNR on another path, from one end of its interval to the other."""
    carried = other.time(path.log_snr(times)).clamp(*interval)
    carried[0], carried[-1] = interval
    return Table(carried, torch.zeros(len(times) - 1, len(times), dtype=torch.float64)).opened().times


def _guides(problem: Problem, cost: Cost) -> Pairs:
    """Return the pairs with trajectories on which rows are regressed."""
    pairs = problem.source.trajectories("train", CHUNK)
    cost.truth("train, trajectories", pairs)
    return pairs
