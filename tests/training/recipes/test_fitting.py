"""What a training does with a budget."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from bnsbench.errors import UsageError
from bnsbench.training.allowance import Allowance
from bnsbench.training.budget import Budget
from bnsbench.training.problem import Cost, Effort
from bnsbench.training.recipes.fitting import FEWEST, LADDER_SHARE, fitted, judged_pairs, least, worth_a_rung
from bnsbench.training.recipes.forecast import Task, forecast, start_cost, task_of
from bnsbench.training.tuning.classics import JUDGED
from tests.training.toys import cross_source

GUIDED = cross_source(guidance=1.0)
TASK = Task(8, dimensions=64)


def allowed(evaluations: float | None) -> Allowance:
    return Allowance(None if evaluations is None else Budget(forwards=2 * evaluations), Cost(), GUIDED)


def test_without_a_budget_or_with_a_large_one_nothing_changes() -> None:
    assert fitted(TASK, Effort(), allowed(None)) == Effort()
    assert fitted(TASK, Effort(), allowed(forecast(TASK).total)) == Effort()


def test_a_smaller_budget_takes_fewer_pairs_and_starts_and_no_race() -> None:
    budgets = [100_000, 30_000, 10_000, 3_000, 600]
    efforts = [fitted(TASK, Effort(), allowed(budget)) for budget in budgets]
    for name in ("validation", "starts", "race", "probed"):
        values = [getattr(effort, name) for effort in efforts]
        assert values == sorted(values, reverse=True), name
        assert values[0] > values[-1], name
    for budget, effort in zip(budgets, efforts, strict=True):
        assert effort.followed in effort.parts
        assert effort.together <= min(effort.followed, effort.validation)
        assert start_cost(TASK, effort) <= budget / 3
        assert forecast(TASK, effort, budget).total <= budget


def test_few_pairs_only_where_they_have_enough_residuals() -> None:
    """In the plane, 16 pairs have 32 residuals for the 51 numbers of a table."""
    assert fitted(TASK, Effort(), allowed(20_000)).followed == 16
    assert fitted(replace(TASK, dimensions=2), Effort(), allowed(20_000)).followed == 32


@pytest.mark.parametrize("task", [Task(4), Task(8), Task(20), Task(8, adam=True), Task(8, searched=5000)], ids=str)
def test_the_least_budget_is_named_and_works(task: Task) -> None:
    needed = least(task)
    effort = fitted(task, Effort(), allowed(needed))
    assert (effort.validation, effort.followed) == (FEWEST, FEWEST)
    with pytest.raises(
        UsageError, match=f"^A budget of .* is too little for a table of {task.nfe} NFE: .* {2 * needed:,} forwards;"
    ):
        fitted(task, Effort(), allowed(needed - 1))


def test_the_least_time_is_told_in_seconds() -> None:
    slow = Allowance(Budget(seconds=1.0, pace=0.5), Cost(), GUIDED)
    with pytest.raises(UsageError, match=rf"A budget of 1 s is too little .* about {least(TASK)} s;"):
        fitted(TASK, Effort(), slow)


def test_adam_s_pairs_are_of_the_finest_truth() -> None:
    task = replace(TASK, adam=True)
    efforts = [fitted(task, Effort(), allowed(budget)) for budget in (20_000, 60_000, 200_000)]
    pairs = [effort.pairs for effort in efforts]
    assert FEWEST < pairs[0] < pairs[1] < pairs[2] <= Effort.pairs
    asked = fitted(replace(task, pairs=20), Effort(), allowed(60_000))
    assert asked.pairs == 20


def test_a_lower_rung_is_trained_where_its_share_is_of_use() -> None:
    assert worth_a_rung(TASK, allowed(None))
    needed = next(budget for budget in range(1000, 10**6, 1000) if worth_a_rung(TASK, allowed(budget)))
    share = LADDER_SHARE * needed
    effort = fitted(TASK, Effort(), allowed(share))
    assert (share - start_cost(TASK, effort)) / TASK.step_on(32) > 5
    assert not worth_a_rung(TASK, allowed(needed / 2))


def test_pairs_that_a_grid_is_chosen_on() -> None:
    assert judged_pairs(8, math.inf) == JUDGED
    assert judged_pairs(8, 10.0) == FEWEST
    assert FEWEST < judged_pairs(8, 30_000) < JUDGED
    fewer, more = (task_of("gs", 8, {}, 64, judged) for judged in (8, 128))
    assert least(fewer) < least(more)
