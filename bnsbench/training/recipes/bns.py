"""BNS: a free non-stationary solver trained for one field and one NFE (Shaul et al., ICML 2024).

The default recipe races a few starts whose rows are regressed on true trajectories, descends from the best by sketched
Gauss-Newton on few pairs and then more, and climbs a ladder over NFE, on which what a rung has learned is among the starts
of the next one. ``recipe="paper"`` is the published one.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import Any

from bnsbench.errors import UsageError
from bnsbench.nonstationary.artefact import SolverArtefact
from bnsbench.nonstationary.table import NonStationarySolver
from bnsbench.training.allowance import Allowance
from bnsbench.training.distil import Choices, distil
from bnsbench.training.families.parametrisation import FreeTable
from bnsbench.training.problem import Cost, Problem
from bnsbench.training.recipes.cautions import cautions_about
from bnsbench.training.recipes.fitting import judged_pairs, made_to_fit, worth_a_rung
from bnsbench.training.recipes.forecast import task_of
from bnsbench.training.recipes.initial import given_start
from bnsbench.training.recipes.paper import PaperRecipe, train_paper
from bnsbench.training.recipes.start import FEW_DIMENSIONS, Start, choose_start
from bnsbench.training.teaching import Teaching

LADDERS = {"standard": (8, 12, 16, 20, 24, 32), "every": tuple(range(4, 65)), "none": ()}
"""NFE of the rungs; what a rung has learned is among the starts of the next one."""
LOW_RUNGS = (4,)
"""Rungs that the standard ladder has besides in few dimensions, where starts matter more and evaluations cost little."""


def train_bns(
    problem: Problem,
    nfe: int,
    recipe: str = "default",
    init: str = "",
    sigma_0: float = 1.0,
    ladder: str = "standard",
    **choices: Any,
) -> SolverArtefact:
    """Train a BNS solver with ``nfe`` evaluations (Shaul et al. 2024, arXiv 2403.01329).

    Args:
        problem: the field to train for.
        nfe: evaluations of the field.
        recipe: "default" or "paper".
        init: what to start from (see `given_start`); empty for the ladder.
        sigma_0: of the preconditioning of a classic start, for high guidance alone: without guidance it does harm.
        ladder: of `LADDERS`.
        choices: of `Choices`.

    Raises:
        UsageError: for a recipe, start, ladder or choice that does not exist.
        DivergedError: if no table gives finite samples.
    """
    began = time.perf_counter()
    chosen = Choices(**choices)
    if recipe == "paper":
        fixed = ("objective", "optimiser", "derivative")
        if any(getattr(chosen, name) != getattr(Choices, name) for name in fixed):
            raise UsageError("The recipe 'paper' has its own objective and optimiser; leave them out.")
        published = PaperRecipe()
        pairs, iterations = chosen.pairs or published.pairs, chosen.iterations or published.iterations
        rate = chosen.rate or published.learning_rate
        table, record = train_paper(problem, nfe, replace(published, pairs=pairs, iterations=iterations, learning_rate=rate))
    elif recipe == "default":
        table, record = _train_default(problem, nfe, chosen, init, sigma_0, ladder)
    else:
        raise UsageError(f"There is no BNS recipe {recipe!r}; choose 'default' or 'paper'.")
    return problem.artefact("bns", table, {"recipe": recipe, **record}, began)


def rung_below(nfe: int, ladder: str = "standard", dimensions: int | None = None) -> int | None:
    """Return the NFE whose solver is among the starts of the one for ``nfe``, or None at the foot of the ladder.

    Args:
        nfe: evaluations of the table.
        ladder: of `LADDERS`.
        dimensions: numbers of one sample; many if None.

    Raises:
        UsageError: for a ladder that does not exist.
    """
    if ladder not in LADDERS:
        raise UsageError(f"There is no ladder {ladder!r}; choose from {', '.join(LADDERS)}.")
    few = ladder == "standard" and dimensions is not None and dimensions <= FEW_DIMENSIONS
    below = [rung for rung in (*(LOW_RUNGS if few else ()), *LADDERS[ladder]) if rung < nfe]
    return max(below) if below else None


def _train_default(
    problem: Problem, nfe: int, choices: Choices, init: str, sigma_0: float, ladder: str
) -> tuple[NonStationarySolver, dict[str, Any]]:
    cost, budget, dimensions = Cost(), problem.effort.budget, math.prod(problem.source.model.shape)
    whole = Allowance(budget, cost, problem.source)
    judged = judged_pairs(nfe, whole.left)
    task = task_of("bns", nfe, {**vars(choices), "init": init}, dimensions, judged)
    # The rung below, trained first if the caller has not got it: what it has learned is among this one's starts.
    rung = None if init else rung_below(nfe, ladder, dimensions)
    if rung is not None and not worth_a_rung(replace(task, nfe=rung), whole):
        rung = None
    below = None if rung is None or problem.previous is None else problem.previous(rung)
    # What is left for this rung, and what it is best spent on.
    allowance = Allowance.after(None if below is None else below.training, budget, cost, problem.source)
    problem = replace(problem, effort=replace(problem.effort, judged=judged))
    problem = made_to_fit(problem, replace(task, rung=below is not None), allowance)
    teaching = Teaching(problem, cost)
    notes = cautions_about(init, sigma_0, problem.source.model, problem.source.guidance)
    for note in notes:
        problem.note(note)
    if init:
        start = Start(*given_start(problem, nfe, init, sigma_0, cost))
    else:
        start = choose_start(problem, nfe, None if below is None else below.solver, teaching)
    # From there, every number of the table descends at once.
    family = FreeTable(start.table, problem.source.model.path)
    table, record = distil(
        problem, nfe, family, choices, cost, rivals=(*start.rivals, start.table), teaching=teaching, allowance=allowance
    )
    record = {"start": start.record(), "notes": notes, **record}
    return table, record if below is None else {**record, **_in_all(problem, cost, below)}


def _in_all(problem: Problem, cost: Cost, below: SolverArtefact) -> dict[str, Any]:
    """Return the cost of all rungs of the ladder, and that of this one beside it."""
    together = cost.with_lower(Cost.of(below.training, problem.source))
    own = {"own_forwards": cost.forwards(problem.source), "rung_below": below.solver.nfe}
    return {**together.record(problem.source), **own}
