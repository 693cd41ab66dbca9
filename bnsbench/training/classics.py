"""Classic solvers as material for learned ones: reached by selector, traced on any time grid."""

from __future__ import annotations

import importlib
from collections.abc import Callable

from torch import Tensor

from bnsbench.errors import NotApplicableError, UsageError
from bnsbench.nonstationary.tracing import retrace, trace
from bnsbench.solvers.grids import time_grid
from bnsbench.solvers.specs import SOLVERS
from bnsbench.training.problem import Classic, Cost, Problem
from bnsbench.training.rule_families import Rule
from bnsbench.training.selection import psnr
from bnsbench.training.table import Table

JUDGED = 128
"""Training pairs on which grids are compared."""


def classic(problem: Problem, name: str) -> Classic:
    """Return a classic solver by selector, a plugin's too if the problem knows them; UsageError for an unknown one."""
    if problem.classic is not None:
        return problem.classic(name)
    specs = {spec.name: spec for spec in SOLVERS}
    if name not in specs:
        raise UsageError(f"There is no built-in solver {name!r} to learn from.")
    module, _, attribute = specs[name].target.partition(":")
    return Classic(getattr(importlib.import_module(module), attribute), specs[name].stages)


def rule_on_grid(problem: Problem, nfe: int, name: str) -> tuple[Rule, int]:
    """Return a classic solver as a function of its time grid [steps + 1], and its steps.

    Raises UsageError for an unknown solver and NotApplicableError for one that takes no grid of its own at this NFE.
    """
    model, rule = problem.source.model, classic(problem, name)
    if rule.stages == 0 or nfe % rule.stages:
        raise NotApplicableError(f"The solver {name!r} takes no time grid at {nfe} NFE, so its times cannot be learned.")

    def on(times: Tensor) -> Callable[..., Tensor]:
        return lambda field, x0: rule.sample(field, x0, nfe, grid=times)

    steps = nfe // rule.stages
    trace(on(time_grid("uniform", model.path, model.interval, steps)), model.path, model.interval)  # checks linearity once
    return lambda times: Table.of(retrace(on(times), model.path, model.interval, nfe)), steps


def best_grid(problem: Problem, rule: Rule, nfe: int, grids: dict[str, Tensor], cost: Cost) -> Tensor:
    """Return the grid on which a rule's PSNR on the first training pairs is best."""
    pairs = problem.source.pairs("train", JUDGED)
    cost.training += len(grids) * nfe * len(pairs)
    return max(grids.values(), key=lambda times: psnr(rule(times), pairs, problem.source.model.data_range))
