"""The other learned solvers of the field: each a family of tables, trained by its own objective or by any other.

``objective="own"`` is what each paper trains for: BST the local bound, LD3 and S4S a soft teacher in feature space, GS the
features, DSS the trajectory. Where a model has no feature extractor, plain squared errors take the features' place.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from bnsbench.nonstationary.artefact import SolverArtefact
from bnsbench.solvers.grids import time_grid
from bnsbench.training.allowance import Allowance
from bnsbench.training.distil import Choices, distil
from bnsbench.training.families.classic_rules import Anchored, Decoupled, Rule, RuleTimes
from bnsbench.training.families.parametrisation import Coefficients, LinearMultistep, Parametrisation
from bnsbench.training.families.scale_time import ScaleTime
from bnsbench.training.problem import Cost, Problem
from bnsbench.training.recipes.fitting import judged_pairs, made_to_fit
from bnsbench.training.recipes.forecast import BEST, task_of
from bnsbench.training.recipes.initial import start_grids
from bnsbench.training.tuning.classics import best_grid, rule_on_grid
from bnsbench.training.tuning.tuned_classics import RULES, tuned_classics

SINGLESTEP = ("dpm++2s", "edm-heun")
"""Rules whose steps span several nodes of their grid."""


def train_bst(problem: Problem, nfe: int, order: int = 2, **choices: Any) -> SolverArtefact:
    """Train a bespoke scale-time solver on Euler's (order 1) or the midpoint rule (order 2); arXiv 2310.19075.

    objective "own" is the paper's bound on local errors, by Adam; any other is trained end to end.
    """
    family = ScaleTime(nfe, problem.source.model.interval, order)
    problem, allowance = _fitted(problem, nfe, "bst", choices)
    if choices.get("objective") != "own":
        return _train(problem, nfe, family, "bst", Choices(**choices), allowance)
    chosen = Choices(**{**choices, "objective": "mse", "optimiser": "adam"})
    table, record = distil(problem, nfe, family, chosen, allowance.cost, loss=family.bound, allowance=allowance)
    return problem.artefact("bst", table, {**_start(family), **record, "objective": "bound"}, allowance.began)


def train_dss(problem: Problem, nfe: int, **choices: Any) -> SolverArtefact:
    """Train times and multistep weights whose rows sum to one, from Euler's method on the best grid; arXiv 2505.21114."""
    problem, allowance = _fitted(problem, nfe, "dss", choices)
    start = _rule(problem, nfe, "euler", allowance.cost)
    chosen = _with_own_objective(choices, "trajectory")
    return _train(problem, nfe, LinearMultistep(start.times), "dss", chosen, allowance, start.name)


def train_ld3(problem: Problem, nfe: int, rule: str = BEST, decoupled: bool = False, **choices: Any) -> SolverArtefact:
    """Train the time grid of a classic rule, and the times told to the network if ``decoupled``; arXiv 2405.15506.

    rule: a classic's selector, or "best" for the one that is best on its best named grid.
    """
    problem, allowance = _fitted(problem, nfe, "ld3", {**choices, "rule": rule})
    start = _rule(problem, nfe, rule, allowance.cost)
    family: Parametrisation = RuleTimes(start.rule, start.times)
    if decoupled:
        family = Decoupled(family, problem.source.model.path, problem.source.model.prediction)
    chosen = _with_own_objective(choices, _perceptual_objective(problem, "soft-"))
    return _train(problem, nfe, family, "ld3", chosen, allowance, start.name)


def train_s4s(problem: Problem, nfe: int, rule: str = "unipc", alternate: bool = False, **choices: Any) -> SolverArtefact:
    """Train the coefficients of a classic rule on its best grid, or in turn with the grid; arXiv 2502.17423."""
    problem, allowance = _fitted(problem, nfe, "s4s", choices)
    start = _rule(problem, nfe, rule, allowance.cost)
    chosen = _with_own_objective(choices, _perceptual_objective(problem, "soft-"))
    if not alternate:
        return _train(problem, nfe, Coefficients(start.rule(start.times)), "s4s", chosen, allowance, start.name)
    family = Anchored(start.rule, start.times)
    parameters = torch.arange(len(family.start()))
    blocks = (parameters[family.log_gaps :], parameters[: family.log_gaps])
    return _train(problem, nfe, family, "s4s", chosen, allowance, start.name, blocks)


def train_gs(problem: Problem, nfe: int, rule: str = "dpm++3m", **choices: Any) -> SolverArtefact:
    """Train the time grid of a classic rule and corrections of its rows, which follow the times; arXiv 2510.17699."""
    problem, allowance = _fitted(problem, nfe, "gs", choices)
    start = _rule(problem, nfe, rule, allowance.cost)
    chosen = _with_own_objective(choices, _perceptual_objective(problem, ""))
    return _train(problem, nfe, Anchored(start.rule, start.times), "gs", chosen, allowance, start.name)


def _fitted(problem: Problem, nfe: int, family: str, choices: Mapping[str, Any]) -> tuple[Problem, Allowance]:
    """Return the problem with an effort that its budget allows, and what may still be spent; the training begins here."""
    allowance = Allowance(problem.effort.budget, Cost(), problem.source)
    judged, dimensions = judged_pairs(nfe, allowance.left), math.prod(problem.source.model.shape)
    task = task_of(family, nfe, choices, dimensions, judged)
    return made_to_fit(replace(problem, effort=replace(problem.effort, judged=judged)), task, allowance), allowance


@dataclass(frozen=True)
class _RuleOnGrid:
    """A classic by its selector, as a function of its grid, and the grid that suits it best."""

    name: str
    rule: Rule
    times: Tensor


def _rule(problem: Problem, nfe: int, name: str, cost: Cost) -> _RuleOnGrid:
    """Return a rule on the grid that suits it best."""
    model = problem.source.model
    if name == BEST:
        return _best_rule(problem, nfe, cost)
    rule, steps = rule_on_grid(problem, nfe, name)
    grid = best_grid(problem, rule, nfe, start_grids(model.path, model.interval, steps), cost)
    return _RuleOnGrid(name, rule, grid)


def _best_rule(problem: Problem, nfe: int, cost: Cost) -> _RuleOnGrid:
    """Return the best of the rules whose steps are those of their grid, on the grid on which it is best."""
    tuned = tuned_classics(problem, nfe, [name for name in RULES if name not in SINGLESTEP])
    cost.add(tuned.cost)
    best, model = tuned.ranking.finalists[0], problem.source.model
    rule, steps = rule_on_grid(problem, nfe, best.rule)
    return _RuleOnGrid(best.rule, rule, time_grid(best.grid, model.path, model.interval, steps))


def _with_own_objective(choices: dict[str, Any], objective: str) -> Choices:
    """Return the choices with a family's own objective where it is asked for."""
    return Choices(**{**choices, "objective": objective} if choices.get("objective") == "own" else choices)


def _perceptual_objective(problem: Problem, prefix: str) -> str:
    return f"{prefix}features" if problem.features is not None else f"{prefix}mse"


def _train(
    problem: Problem,
    nfe: int,
    family: Parametrisation,
    name: str,
    choices: Choices,
    allowance: Allowance,
    rule: str = "",
    blocks: Sequence[Tensor] = (),
) -> SolverArtefact:
    table, record = distil(problem, nfe, family, choices, allowance.cost, blocks=blocks, allowance=allowance)
    return problem.artefact(name, table, {**_start(family, rule), **record}, allowance.began)


def _start(family: Parametrisation, rule: str = "") -> dict[str, Any]:
    """Return what is recorded of the start: its table, and the selector of its rule if it is that of a classic."""
    table = family.table(family.start())
    return {"start": {"name": "the rule of its family", **({"rule": rule} if rule else {}), "table": table.to_dict()}}
