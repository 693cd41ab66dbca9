"""What a training does with a budget: the effort that makes the best of what may be spent."""

from __future__ import annotations

import math
from dataclasses import replace

from bnsbench.errors import UsageError
from bnsbench.training.allowance import Allowance
from bnsbench.training.problem import Effort, Problem
from bnsbench.training.recipes.forecast import Task, forecast, start_cost, truth_cost
from bnsbench.training.recipes.initial import START_GRIDS
from bnsbench.training.teaching import EXACT, LONG, probing_cost
from bnsbench.training.tuning.classics import JUDGED
from bnsbench.truth.teacher import WAY_POINTS

FEWEST = 8
"""Pairs below which a training has nothing to learn from."""
VALIDATED = {512: 1 / 12, 256: 1 / 12, 128: 1 / 12, 64: 1 / 12, 32: 1 / 12, 16: 1 / 4}
CHECKS = 6
"""Pairs that a training with a budget may validate on and the share of it that they may have, for so many tables."""
FOLLOWED, RESIDUALS_PER_NUMBER = (16, 8), 8
"""Pairs on which it may begin, while they have so many residuals for each number of the table: its first steps are cheaper
there, and nearly as good."""
PROBING_SHARE, RACE_SHARE, START_SHARE = 1 / 10, 1 / 8, 1 / 4
"""The shares of it that the error of the truth, a race of starts, and starts without a race may have."""
ADAM_SHARE = 1 / 3
"""The share of it that the truth may have where all pairs are taken at once, as by Adam."""
LADDER_SHARE, RUNG_STEPS = 1 / 3, 6
"""The share of a budget that lower rungs may have, and the steps on its first leg that one has to take to be of use."""


def made_to_fit(problem: Problem, task: Task, allowance: Allowance) -> Problem:
    """Return the problem with the effort that its budget allows, and what it is then expected to cost; as `fitted`."""
    effort = fitted(task, problem.effort, allowance)
    return replace(problem, effort=effort, expected=allowance.expected(forecast(task, effort, allowance.left).total))


def judged_pairs(nfe: int, left: float) -> int:
    """Return the pairs on which a start is searched where so many evaluations are left, inf for as many as gain."""
    fitting = START_SHARE * left / (EXACT + WAY_POINTS + 2 * len(START_GRIDS) * nfe)
    return JUDGED if fitting >= JUDGED else max(FEWEST, int(fitting))


def fitted(task: Task, effort: Effort, allowance: Allowance) -> Effort:
    """Return the effort that makes the best of what may still be spent on a table.

    Every part of the training has its share, and is done on fewer pairs, or left out, where it would cost more: a race of
    starts is worth it only where a descent of some length can follow.

    Args:
        task: what is trained.
        effort: that is made without a budget.
        allowance: of this table.

    Raises:
        UsageError: if it does not suffice for anything.
    """
    left = allowance.left
    if math.isinf(left):
        return effort
    if left < least(task):
        raise UsageError(too_little(task, allowance))
    if forecast(task, effort).total <= left:
        return effort
    small = replace(effort, validation=_validated(task, effort, left - (task.searched or 0)), race=())
    small = _for_adam(task, small, left) if task.adam else _with_pairs(task, small, left)
    small = replace(small, probed=probing_cost() <= PROBING_SHARE * left)
    raced = [replace(small, race=race) for race in (effort.race, Effort.race)]
    return next((each for each in raced if start_cost(task, each) <= RACE_SHARE * left), small)


def _validated(task: Task, effort: Effort, left: float) -> int:
    """Return the pairs to validate on."""
    each = LONG[0] + CHECKS * task.nfe
    shares = VALIDATED.items()
    return next((size for size, share in shares if size <= effort.validation and size * each <= share * left), FEWEST)


def _for_adam(task: Task, effort: Effort, left: float) -> Effort:
    """Return the effort with all pairs at once, of the finest truth."""
    solved = int(ADAM_SHARE * left / EXACT)
    validation = max(FEWEST, min(effort.validation, solved // 4))
    pairs = max(FEWEST, min(task.pairs or effort.pairs, solved - validation))
    followed = min(effort.followed, pairs)
    return replace(effort, pairs=pairs, validation=validation, followed=followed, together=FEWEST, searched=0, starts=1)


def _with_pairs(task: Task, effort: Effort, left: float) -> Effort:
    """Return the effort with the pairs to begin on: so few that a step can follow the start, else as many as fit."""
    own = [size for size in FOLLOWED if size * task.dimensions >= RESIDUALS_PER_NUMBER * task.numbers]
    sizes = [effort.followed, *FOLLOWED]
    efforts = [_on(task, effort, size, left) for size in (*own, *sizes)]
    needed = [
        _beginning(task, each) + (number < len(own)) * task.step_on(each.followed) for number, each in enumerate(efforts)
    ]
    return next((each for each, cost in zip(efforts, needed, strict=True) if cost <= left), efforts[-1])


def _on(task: Task, effort: Effort, followed: int, left: float) -> Effort:
    """Return the effort that begins on so many pairs, without a search and from one grid where they would take too much."""
    together, parts = (
        min(effort.together, followed, effort.validation),
        tuple(sorted({followed, *Effort.parts, *effort.parts})),
    )
    found = replace(effort, followed=followed, together=together, parts=parts)
    smaller = (found, replace(found, searched=0), replace(found, searched=0, starts=1))
    return next((each for each in smaller if start_cost(task, each) <= START_SHARE * left), smaller[-1])


def _beginning(task: Task, effort: Effort) -> int:
    """Return what it takes until the first step: truth, start, and its first two looks."""
    truth = LONG[0] * (effort.followed + effort.validation)
    return truth + start_cost(task, effort) + task.nfe * (effort.followed + 3 * effort.validation)


def worth_a_rung(lower: Task, allowance: Allowance) -> bool:
    """Whether a budget's share for lower rungs suffices for a table of the next one that is worth starting from."""
    left = allowance.left
    effort = replace(Effort(), race=(), probed=False)
    pairs = effort.parts[0] if effort.parts else effort.pairs
    modest = truth_cost(lower, effort, 0, pairs) + start_cost(lower, effort) + RUNG_STEPS * lower.step_on(pairs)
    return math.isinf(left) or modest <= LADDER_SHARE * left


def least(task: Task) -> int:
    """Return the evaluations without which there is no table: one greedy start on a few pairs, and its validation."""
    start = 2 * task.nfe * FEWEST if task.searched is None else task.searched
    truth = EXACT if task.adam else LONG[0]
    return FEWEST * (2 * truth + task.nfe) + start


def too_little(task: Task, allowance: Allowance) -> str:
    """Return a sentence that says what a budget has to be at least."""
    needed = least(task) * allowance.source.forwards_per_evaluation
    words = f"{needed:,} forwards"
    if allowance.budget is not None and allowance.budget.seconds is not None:
        words = f"about {math.ceil(least(task) * allowance.pace)} s"
    return (
        f"A budget of {allowance.budget} is too little for a table of {task.nfe} NFE: one start on {FEWEST} pairs,"
        f" with its truth and validation, takes {words}; that is the least that works."
    )
