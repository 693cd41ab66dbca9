"""What trainings are said to cost, beside what small ones cost."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from bnsbench.training.allowance import Allowance
from bnsbench.training.budget import Budget
from bnsbench.training.distil import Choices
from bnsbench.training.problem import Cost, Effort, Problem
from bnsbench.training.recipes.bns import train_bns
from bnsbench.training.recipes.fitting import fitted
from bnsbench.training.recipes.forecast import Forecast, Task, forecast, legs_of, stage_forecast, start_cost, task_of
from bnsbench.training.recipes.learned import train_gs
from bnsbench.training.recipes.start import choose_start
from bnsbench.training.teaching import Teaching
from bnsbench.truth.pairs import PairSource
from tests.training.toys import SMALL, blobs_source, cross_source

FACTOR = 3.0
"""By which a forecast may be wrong."""


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> PairSource:
    return blobs_source(cache=tmp_path_factory.mktemp("wide"))


@pytest.mark.parametrize("nfe", [3, 4])
def test_a_training_costs_about_what_it_is_said_to(nfe: int, wide: PairSource) -> None:
    """The whole within the factor, and so each phase that makes up a tenth of it or more."""
    record = train_bns(Problem(wide), nfe, ladder="none").training
    said = forecast(task_of("bns", nfe, {}, 36))
    spent = sum(record["forwards"].values())
    assert spent / FACTOR < said.total < spent * FACTOR
    for phase, counted in (("truth", "teacher"), ("validation", "validation")):
        assert said.phases[phase] < FACTOR * record["forwards"][counted] + spent / 10
        assert record["forwards"][counted] < FACTOR * said.phases[phase] + spent / 10


@pytest.mark.parametrize("race", [Effort.race, ((16, 1, 3), (32, 2, 1)), ()], ids=str)
@pytest.mark.parametrize("make", [cross_source, blobs_source], ids=["few dimensions", "many"])
def test_a_start_costs_what_it_is_said_to(make, race: tuple[tuple[int, int, int], ...]) -> None:
    """But for steps that are lengthened or tried again."""
    source = make()
    effort = replace(SMALL, race=race, probed=False)
    cost = Cost()
    problem = Problem(source, effort=effort)
    choose_start(problem, 3, None, Teaching(problem, cost), Choices(derivative="backward"))
    said = start_cost(Task(3, math.prod(source.model.shape)), effort)
    spent = cost.training + cost.validation
    assert said <= spent <= 1.4 * said
    assert race or said == spent


def test_more_numbers_take_more_pairs_and_a_user_s_pairs_are_taken() -> None:
    last = [legs_of(Task(nfe), Effort())[-1] for nfe in (2, 4, 8, 12, 20)]
    assert last == [32, 256, 512, 512, 512]
    assert legs_of(Task(2, pairs=300), Effort()) == [32, 128, 256, 300]


def test_what_is_left_shortens_a_descent_and_never_is_passed() -> None:
    task = Task(8)
    whole = forecast(task)
    totals = []
    for share in (1.0, 0.5, 0.2, 0.1):
        part = forecast(task, Effort(), share * whole.total)
        assert part.total <= share * whole.total
        totals.append(part.total)
        assert part.pairs <= whole.pairs
    assert totals[0] == whole.total
    assert totals == sorted(totals, reverse=True)


def test_rungs_add_up() -> None:
    lower, upper = Forecast(1, 2, 3, 4, 32), Forecast(10, 20, 30, 40, 64)
    assert upper.after(lower) == Forecast(11, 22, 33, 44, 64)
    assert upper.total == 100


def test_other_courses() -> None:
    """Adam's iterations, the published recipe's numbers, and a rule's grid in place of a race."""
    adam = forecast(task_of("bns", 4, {"optimiser": "adam", "iterations": 100, "pairs": 64}))
    assert adam.training == 100 * 64 * 3 * 4
    paper = forecast(task_of("bns", 8, {"recipe": "paper"}))
    assert paper.training == 15_000 * 40 * 3 * 8
    assert task_of("bst", 4, {"objective": "own"}).adam
    assert not task_of("bst", 4, {"objective": "mse"}).adam


def test_a_family_that_starts_from_a_rule(wide: PairSource) -> None:
    record = train_gs(Problem(wide), 4, rule="ab2").training
    spent = sum(record["forwards"].values())
    said = forecast(task_of("gs", 4, {"rule": "ab2"}, 36)).total
    assert spent / 2 < said < spent * 2


def test_with_a_budget_the_forecast_is_of_the_shorter_course(wide: PairSource) -> None:
    for budget in (3_000, 10_000, 30_000):
        given = Problem(wide, effort=Effort(budget=Budget(forwards=budget)))
        task = task_of("bns", 4, {}, 36)
        effort = fitted(task, given.effort, Allowance(given.effort.budget, Cost(), wide))
        said = forecast(task, effort, budget).total
        record = train_bns(given, 4, ladder="none").training
        spent = sum(record["forwards"].values())
        assert spent <= budget
        assert spent / FACTOR < said < spent * FACTOR


def test_a_second_stage_costs_about_what_it_is_said_to(wide: PairSource) -> None:
    given = Problem(wide, shown=lambda x: torch.cat([x, x.square()], dim=1))
    record = train_bns(given, 3, then="features", ladder="none").training
    own, said = record["own_forwards"], stage_forecast(3)
    spent = own["teacher"] + own["training"] + own["validation"]
    assert spent / FACTOR < said.total < spent * FACTOR
    assert said.pairs == record["pairs"] == 256
    assert stage_forecast(3, left=said.total - 1).pairs == 128
    assert stage_forecast(3, columns=2).training > said.training
    assert stage_forecast(3, left=100).total == 0
