"""BNS: a free non-stationary solver trained for one field and one NFE (Shaul et al., ICML 2024).

The default recipe races a few starts whose rows are regressed on true trajectories, descends from the best by sketched
Gauss-Newton on few pairs and then more, and climbs a ladder over NFE, on which what a rung has learned is among the starts
of the next one. ``recipe="paper"`` is the published one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bnsbench.contract.specs import Scalar
from bnsbench.errors import NotApplicableError, UsageError
from bnsbench.flows.guidance import guidance_in_words
from bnsbench.nonstationary.artefact import SolverArtefact
from bnsbench.nonstationary.table import NonStationarySolver
from bnsbench.training.allowance import Allowance
from bnsbench.training.distil import Choices, distil, settled
from bnsbench.training.families.parametrisation import FreeTable
from bnsbench.training.problem import FEW_DIMENSIONS, Cost, Problem
from bnsbench.training.recipes.cautions import cautions_about
from bnsbench.training.recipes.fitting import judged_pairs, made_to_fit, worth_a_rung
from bnsbench.training.recipes.forecast import split_task, task_of
from bnsbench.training.recipes.initial import given_start
from bnsbench.training.recipes.paper import PaperRecipe, train_paper
from bnsbench.training.recipes.second_stage import NOTHING, check_stage, likeness_stage
from bnsbench.training.recipes.start import Start, choose_start, pairs_followed
from bnsbench.training.teaching import Teaching

LADDERS = {"standard": (8, 12, 16, 20, 24, 32), "every": tuple(range(4, 65)), "none": ()}
"""NFE of the rungs; what a rung has learned is among the starts of the next one."""
LOW_RUNGS = (4,)
"""Rungs that the standard ladder has besides in few dimensions, where starts matter more and evaluations cost little."""

GUIDED, SPLIT = COLUMNS = ("guided", "split")
"""What a table may weigh of a guided evaluation: the velocity u_w, or both answers of the network apart."""


FIRST_SHARE = 2 / 3
"""The share of a budget that a table has before another stage goes on from it: split columns, or a likeness to the truth."""


def train_bns(
    problem: Problem,
    nfe: int,
    recipe: str = "default",
    init: str = "",
    sigma_0: float = 1.0,
    ladder: str = "standard",
    columns: str = GUIDED,
    then: str = NOTHING,
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
        columns: of `COLUMNS`; "split" goes on from the table that "guided" trains.
        then: of `bnsbench.training.recipes.second_stage.STAGES`; "features" goes on from the table that all else trains.
        choices: of `Choices`.

    Raises:
        UsageError: for a recipe, start, ladder, stage or choice that does not exist.
        NotApplicableError: for split columns where the model answers once, or under several guidance scales; for a second
            stage without features, or under several scales.
        DivergedError: if no table gives finite samples.
    """
    began = time.perf_counter()
    chosen = Choices(**choices)
    if columns not in COLUMNS:
        raise UsageError(f"A table's columns are {' or '.join(COLUMNS)}, not {columns!r}.")
    check_stage(then, problem)
    if then:
        options = {"recipe": recipe, "init": init, "sigma_0": sigma_0, "ladder": ladder, "columns": columns, **choices}
        table, record = _train_then(problem, nfe, chosen, options)
        return problem.artefact("bns", table, {"recipe": recipe, "columns": columns, "then": then, **record}, began)
    if columns == SPLIT:
        if recipe == "paper":
            raise UsageError("The recipe 'paper' trains tables of velocities; leave columns out.")
        options = {"recipe": recipe, "init": init, "sigma_0": sigma_0, "ladder": ladder, **choices}
        table, record = _train_split(problem, nfe, chosen, options)
        return problem.artefact("bns", table, {"recipe": recipe, "columns": SPLIT, **record}, began)
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
        # What the descent is told of derivatives holds for the start as well: a network may have none but differences.
        followed = teaching.pairs("train", pairs_followed(problem, choices, teaching), along=True)
        choices = settled(choices, followed, problem, cost)
        start = choose_start(problem, nfe, None if below is None else below.solver, teaching, choices)
    # From there, every number of the table descends at once.
    family = FreeTable(start.table.with_open_gaps(), problem.source.model.path)
    rivals = (*start.rivals, start.table)
    table, record = distil(
        problem,
        nfe,
        family,
        choices,
        cost,
        rivals=rivals,
        teaching=teaching,
        steps=start.steps,
        allowance=allowance,
    )
    record = {"start": start.record(), "notes": notes, **record}
    return table, record if below is None else {**record, **_in_all(problem, cost, below), "rung_below": below.solver.nfe}


def _in_all(problem: Problem, cost: Cost, before: SolverArtefact) -> dict[str, Any]:
    """Return the cost of a training and of those before it that it goes on from, and its own beside it."""
    together = cost.with_lower(Cost.of(before.training, problem.source))
    return {**together.record(problem.source), "own_forwards": cost.forwards(problem.source)}


def _train_split(
    problem: Problem, nfe: int, choices: Choices, options: Mapping[str, Any]
) -> tuple[NonStationarySolver, dict[str, Any]]:
    """Go on from the table of velocities with the columns split, on as many pairs as that one needed or more.

    options: the arguments of `train_bns` for the table of velocities.
    """
    source, cost, budget = problem.source, Cost(), problem.effort.budget
    guidance = _only_scale(source.guidance)
    if not source.model.linear_guidance:
        raise NotApplicableError(
            f"Guidance of {type(source.model).__name__} is of a kind of its own, so no table can weigh its answers "
            "apart: use columns=guided."
        )
    task = split_task(nfe, vars(choices), math.prod(source.model.shape))
    if budget is not None:  # refused before anything is spent
        made_to_fit(problem, task, Allowance(budget.part(1 - FIRST_SHARE), cost, source))
    guided = _first(problem, nfe, options, {"columns": GUIDED})
    start = guided.solver.split(guidance)
    fewest = int(guided.training.get("pairs") or 0)
    allowance = Allowance.after(guided.training, budget, cost, source)
    problem = made_to_fit(problem, task, allowance)
    effort = replace(problem.effort, parts=tuple(part for part in problem.effort.parts if part >= fewest))
    family = FreeTable(start if bool((start.times.diff() > 0).all()) else start.with_open_gaps(), source.model.path)
    made = replace(problem, effort=effort)
    table, record = distil(made, nfe, family, choices, cost, rivals=(start,), allowance=allowance)
    began_with = {"name": f"{guided.name} of velocities", "table": start.to_dict(), "psnr": guided.training.get("psnr")}
    return table, {"start": began_with, "notes": [], **record, **_in_all(problem, cost, guided)}


def _only_scale(guidance: float | tuple[float, ...]) -> float:
    """Return the guidance scale whose answers a table can weigh apart; NotApplicableError where there is no such scale."""
    scales = set(guidance) if isinstance(guidance, tuple) else {guidance}
    if len(scales) > 1:
        raise NotApplicableError(
            "A table of split columns has one guidance scale in its numbers, so it cannot serve "
            f"{guidance_in_words(sorted(scales))} at once: train one for each."
        )
    (scale,) = scales
    if scale == 0:
        raise NotApplicableError(
            "Without guidance a network answers once, so there are no columns to split: use columns=guided."
        )
    return scale


def _train_then(
    problem: Problem, nfe: int, choices: Choices, options: Mapping[str, Any]
) -> tuple[NonStationarySolver, dict[str, Any]]:
    """Go on from the optimum of fidelity towards a likeness of samples and truth.

    options: the arguments of `train_bns` for the first stage.
    """
    source, cost, budget = problem.source, Cost(), problem.effort.budget
    first = _first(problem, nfe, options, {"then": NOTHING})
    allowance = Allowance.after(first.training, budget, cost, source)
    psnr = float(first.training.get("psnr") or 0.0)
    table, record = likeness_stage(problem, first.solver, psnr, choices.floor, choices.pairs, allowance)
    began_with = {"name": f"{first.name} of fidelity", "table": first.solver.to_dict(), "psnr": psnr}
    chosen = {"objective": choices.objective, "optimiser": choices.optimiser, "floor": choices.floor}
    return table, {"start": began_with, "notes": [], **chosen, **record, **_in_all(problem, cost, first)}


def _first(problem: Problem, nfe: int, options: Mapping[str, Any], without: Mapping[str, Scalar]) -> SolverArtefact:
    """Return the table that a further stage goes on from, through the caller's cache if there is one.

    Args:
        problem: the field to train for.
        nfe: of the table.
        options: the arguments of `train_bns` that lead to it.
        without: the argument that tells it from the whole training, and its value there.
    """
    if problem.variant is not None:
        return problem.variant(nfe, without)
    file = problem.checkpoint
    budget = None if problem.effort.budget is None else problem.effort.budget.part(FIRST_SHARE)
    effort = replace(problem.effort, budget=budget)
    stage = "-".join(without)
    own = replace(problem, checkpoint=None if file is None else file.with_suffix(f".{stage}.pt"), effort=effort)
    below = None if problem.previous is None else lambda rung: _first(problem, rung, options, without)
    return train_bns(replace(own, previous=below), nfe, **{**options, **without})
