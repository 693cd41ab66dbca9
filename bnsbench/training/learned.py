"""The other learned solvers of the field, as families of tables under the same objective and optimiser as BNS."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable

from torch import Tensor

from bnsbench.errors import NotApplicableError, UsageError
from bnsbench.nonstationary.artefact import SolverArtefact
from bnsbench.nonstationary.tracing import retrace, trace
from bnsbench.solvers.grids import time_grid
from bnsbench.solvers.specs import SOLVERS
from bnsbench.training.descent import artefact, descend
from bnsbench.training.parametrisations import (
    Anchored,
    Coefficients,
    LinearMultistep,
    Parametrisation,
    Rule,
    RuleTimes,
    ScaleTime,
)
from bnsbench.training.problem import Cost, Problem
from bnsbench.training.selection import psnr
from bnsbench.training.starts import start_grids
from bnsbench.training.table import Table


def train_bst(problem: Problem, nfe: int, order: int = 2) -> SolverArtefact:
    """Train a bespoke scale-time solver on Euler's (order 1) or the midpoint rule (order 2); arXiv 2310.19075."""
    family = ScaleTime(nfe, problem.source.model.interval, order)
    return _train(problem, nfe, family, f"bst[order={order}]", Cost())


def train_dss(problem: Problem, nfe: int) -> SolverArtefact:
    """Train times and multistep weights whose rows sum to one, from Euler's method on the best grid; arXiv 2505.21114."""
    cost = Cost()
    _, times = _best_grid(problem, nfe, "euler", cost)
    return _train(problem, nfe, LinearMultistep(times), "dss", cost)


def train_ld3(problem: Problem, nfe: int, rule: str = "unipc") -> SolverArtefact:
    """Train the time grid of a classic rule; arXiv 2405.15506."""
    cost = Cost()
    on_grid, times = _best_grid(problem, nfe, rule, cost)
    return _train(problem, nfe, RuleTimes(on_grid, times), f"ld3[rule={rule}]", cost)


def train_s4s(problem: Problem, nfe: int, rule: str = "unipc") -> SolverArtefact:
    """Train the coefficients of a classic rule on its best grid; arXiv 2502.17423."""
    cost = Cost()
    on_grid, times = _best_grid(problem, nfe, rule, cost)
    return _train(problem, nfe, Coefficients(on_grid(times)), f"s4s[rule={rule}]", cost)


def train_gs(problem: Problem, nfe: int, rule: str = "dpm++3m") -> SolverArtefact:
    """Train the time grid of a classic rule and corrections of its rows, which follow the times; arXiv 2510.17699."""
    cost = Cost()
    on_grid, times = _best_grid(problem, nfe, rule, cost)
    return _train(problem, nfe, Anchored(on_grid, times), f"gs[rule={rule}]", cost)


def rule_on_grid(problem: Problem, nfe: int, name: str) -> tuple[Rule, int]:
    """Return a classic solver as a function of its time grid [steps + 1], and its steps.

    Raises UsageError for an unknown solver and NotApplicableError for one that takes no grid of its own.
    """
    model = problem.source.model
    function = (problem.solver or _builtin)(name)

    def on(times: Tensor) -> Callable[..., Tensor]:
        begin, end = model.interval
        parts = ((times[1:-1] - begin) / (end - begin)).tolist()
        grid = ":".join(["nodes", *(repr(part) for part in parts)])
        return lambda field, x0: function(field, x0, nfe, grid=grid)

    for stages in (stages for stages in (1, 2, 3, 4) if nfe % stages == 0):
        try:
            trace(on(time_grid("uniform", model.path, model.interval, nfe // stages)), model.path, model.interval)
        except UsageError:
            continue
        return lambda times: Table.of(retrace(on(times), model.path, model.interval, nfe)), nfe // stages
    raise NotApplicableError(f"The solver {name!r} takes no time grid at {nfe} NFE, so its times cannot be learned.")


def _builtin(name: str) -> Callable[..., Tensor]:
    targets = {spec.name: spec.target for spec in SOLVERS}
    if name not in targets:
        raise UsageError(f"There is no built-in solver {name!r} to learn from.")
    module, _, attribute = targets[name].partition(":")
    function: Callable[..., Tensor] = getattr(importlib.import_module(module), attribute)
    return function


def _best_grid(problem: Problem, nfe: int, name: str, cost: Cost) -> tuple[Rule, Tensor]:
    """Return a rule and the grid on which its PSNR on the training pairs is best."""
    model = problem.source.model
    rule, steps = rule_on_grid(problem, nfe, name)
    pairs = problem.source.pairs("train", 128)
    grids = start_grids(model.path, model.interval, steps).values()
    cost.training += len(grids) * nfe * len(pairs)
    return rule, max(grids, key=lambda times: psnr(rule(times), pairs, model.data_range))


def _train(problem: Problem, nfe: int, family: Parametrisation, name: str, cost: Cost) -> SolverArtefact:
    began = time.perf_counter()
    table, record = descend(problem, nfe, family, cost)
    return artefact(problem, name, table, record, began)
