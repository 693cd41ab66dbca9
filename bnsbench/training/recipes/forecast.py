"""What a training is expected to cost, by phase: the one model of cost, for trainings and for suites.

The parts are counted as they will be (`bnsbench.training.optimisers.costs`). How far a training goes is read off trainings
of the embedded models at 4 to 16 evaluations: the more numbers a table has, the more steps, the more pairs, the finer truth.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from bnsbench.training.optimisers.adam import AdamSettings
from bnsbench.training.optimisers.costs import numbers_of, step
from bnsbench.training.optimisers.likeness import directions_of
from bnsbench.training.problem import FEW, FEW_DIMENSIONS, Effort
from bnsbench.training.recipes.grid_choice import TRIED as GRIDS_TRIED
from bnsbench.training.recipes.initial import START_GRIDS
from bnsbench.training.recipes.paper import PaperRecipe
from bnsbench.training.recipes.second_stage import PAIRS as STAGE_PAIRS
from bnsbench.training.teaching import EXACT, LONG, probing_cost
from bnsbench.training.tuning.classics import JUDGED
from bnsbench.truth.teacher import WAY_POINTS

TUNING_RUNS, TUNING_PAIRS = 600, 8
"""Samples that the search for a time grid takes from noise to data, 400 for one rule and 800 for all, and its pairs."""
NUMBERS: dict[str, Callable[[int], int]] = {
    "bst": lambda nfe: 4 * nfe,
    "ld3": lambda nfe: nfe,
    "s4s": lambda nfe: nfe * (nfe + 3) // 2,
    "gs": numbers_of,
    "dss": lambda nfe: nfe - 1 + nfe * (nfe + 1) // 2,
}
"""How many numbers the families choose, about, by NFE; any other as many as a free table."""
PAIRS_PER_NUMBER = 16
"""No leg is on more pairs than this for each number of the table: there they gain next to nothing."""
SHARES_OF_STEPS = (1.0, 0.5)
"""Steps of the first two legs, for each evaluation of the table."""
LATER_STEPS = 3
"""Steps of each leg after these."""
STAGE_STEPS = 3
"""Steps of a second stage."""
TEACHING_PER_EVALUATION = 8
"""Evaluations of the truth that a table ends with, for each evaluation of its own: a better student needs a finer one."""

BEST = "best"
"""In place of a rule's name, the one that is best on its best grid."""


@dataclass(frozen=True)
class Forecast:
    """Evaluations of the field times samples, by phase.

    Args:
        truth: of the pairs, and what it takes to know how fine it is.
        start: of the starts, and the choice among them.
        training: of the descent.
        validation: of the choice of the iterate.
        pairs: on which it learns at last.
    """

    truth: int = 0
    start: int = 0
    training: int = 0
    validation: int = 0
    pairs: int = 0

    @property
    def phases(self) -> dict[str, int]:
        """The evaluations of every phase, by its name."""
        return {"truth": self.truth, "start": self.start, "training": self.training, "validation": self.validation}

    @property
    def total(self) -> int:
        """Those of all phases."""
        return sum(self.phases.values())

    def after(self, lower: Forecast) -> Forecast:
        """Return what this rung of a ladder and those below it cost together."""
        return replace(self, **{phase: count + lower.phases[phase] for phase, count in self.phases.items()})


@dataclass(frozen=True)
class Task:
    """What decides how much a training costs.

    Args:
        nfe: evaluations of the table.
        dimensions: numbers of one sample; inf for many.
        parameters: numbers that the table may change; those of a free table if 0.
        pairs: that the user asks for, 0 for as many as gain.
        iterations: at most in a leg, 0 for the default.
        searched: what the start costs where it is not chosen among greedy tables, in evaluations; None where it is.
        adam: whether Adam descends.
        paper: whether the published recipe is followed.
        rung: whether a smaller table is among the starts.
    """

    nfe: int
    dimensions: float = math.inf
    parameters: int = 0
    pairs: int = 0
    iterations: int = 0
    searched: int | None = None
    adam: bool = False
    paper: bool = False
    rung: bool = False

    @property
    def numbers(self) -> int:
        return self.parameters or numbers_of(self.nfe)

    def step_on(self, pairs: int) -> int:
        """Return what a step of the descent costs on so many pairs."""
        return step(self.nfe, self.numbers, pairs, residuals=self.dimensions)


def forecast(task: Task, effort: Effort | None = None, left: float = math.inf) -> Forecast:
    """Return what a training is expected to cost without its lower rungs.

    Args:
        task: what is trained.
        effort: how far it goes, the default one if None.
        left: evaluations that may be spent on it; the legs and steps that they have no room for are left out.
    """
    effort = effort or (FEW if task.dimensions <= FEW_DIMENSIONS else Effort())
    if task.paper:
        return _of_paper(task)
    if task.adam:
        return _of_adam(task, effort, left)
    look = task.nfe * effort.validation
    legs = legs_of(task, effort)
    found = Forecast(truth_cost(task, effort, 0, legs[0]), start_cost(task, effort), 0, look, legs[0])
    for number, pairs in enumerate(legs):
        begun = replace(
            found,
            truth=truth_cost(task, effort, number, pairs),
            training=found.training + task.nfe * pairs,
            validation=found.validation + look,
            pairs=pairs,
        )
        each = task.step_on(pairs) + look
        fitting = (left - begun.total) / each
        if fitting < 1:
            break
        steps = int(min(_steps(task, number), fitting))
        found = replace(begun, training=begun.training + steps * (each - look), validation=begun.validation + steps * look)
    return found


def legs_of(task: Task, effort: Effort) -> list[int]:
    """Return the pairs of the legs that a training is expected to take."""
    most = task.pairs or effort.pairs
    parts = [*(part for part in effort.parts if part < most), most]
    return parts if task.pairs else [parts[0], *(part for part in parts[1:] if part <= PAIRS_PER_NUMBER * task.numbers)]


def start_cost(task: Task, effort: Effort) -> int:
    """Return what the starts cost: their rows, the race, and its judgement; or the search for a rule's grid."""
    if task.searched is not None:
        return task.searched
    nfe, greedy = task.nfe, effort.starts + task.rung
    cost = greedy * nfe * effort.followed + GRIDS_TRIED * nfe * min(effort.searched, effort.followed)
    if not effort.race:
        return cost + greedy * nfe * effort.validation
    left = greedy + task.rung
    cost += left * nfe * min(effort.race[0][0], effort.followed)
    for pairs, steps, following in effort.race:
        cost += left * (nfe * pairs + steps * task.step_on(pairs) + nfe * effort.validation)
        left = min(left, following)
    return cost


def task_of(
    family: str, nfe: int, choices: Mapping[str, Any], dimensions: float = math.inf, judged: int | None = None
) -> Task:
    """Return what decides how much a training costs.

    Args:
        family: the trained solver's name.
        nfe: evaluations of the table.
        choices: its parameters, those that are left out at their defaults.
        dimensions: numbers of one sample; inf for many.
        judged: pairs on which a rule's grid is chosen, if they are not those of a training without a budget.
    """
    return Task(
        nfe,
        dimensions,
        parameters=NUMBERS.get(family, numbers_of)(nfe),
        pairs=int(choices.get("pairs", 0)),
        iterations=int(choices.get("iterations", 0)),
        searched=search_cost(family, nfe, choices, JUDGED if judged is None else judged),
        adam=choices.get("optimiser") == "adam" or (family, choices.get("objective")) == ("bst", "own"),
        paper=choices.get("recipe") == "paper",
    )


def split_task(nfe: int, choices: Mapping[str, Any], dimensions: float = math.inf) -> Task:
    """Return what decides how much it costs to go on from a table of velocities with its columns split."""
    task = task_of("bns", nfe, choices, dimensions)
    return replace(task, parameters=2 * nfe - 1 + nfe * (nfe + 1), searched=0)


def stage_forecast(nfe: int, columns: int = 1, left: float = math.inf) -> Forecast:
    """Return what a second stage is expected to cost; nothing where so many evaluations leave no room for it.

    Its extractor's forwards are not among them.
    """
    each = directions_of(nfe, columns) + 2 * nfe
    for pairs in STAGE_PAIRS:
        training, validation = pairs * (nfe + STAGE_STEPS * each), (1 + STAGE_STEPS) * nfe * pairs
        found = Forecast(2 * LONG[0] * pairs + probing_cost(), 0, training, validation, pairs)
        if found.total <= left:
            return found
    return Forecast()


def search_cost(family: str, nfe: int, choices: Mapping[str, Any], judged: int) -> int | None:
    """Return what it costs to find a start on so many pairs; None where it is chosen among greedy tables."""
    rule, init = str(choices.get("rule", BEST)), str(choices.get("init", ""))
    if family == "bns" and (init == "greedy" or init.endswith(".json")):
        return judged * (EXACT + WAY_POINTS + 2 * len(START_GRIDS) * nfe)
    if family == "bst" or (family == "bns" and init):
        return 0
    if family == "ld3" and rule == BEST:
        return TUNING_RUNS * nfe + 2 * TUNING_PAIRS * EXACT
    return judged * (EXACT + len(START_GRIDS) * nfe) if family in NUMBERS else None


def _steps(task: Task, number: int) -> int:
    """Return how many steps the leg of that number is expected to take."""
    share = SHARES_OF_STEPS[number] if number < len(SHARES_OF_STEPS) else 0.0
    expected = max(LATER_STEPS, math.ceil(share * task.nfe))
    return min(expected, task.iterations) if task.iterations else expected


def truth_cost(task: Task, effort: Effort, leg: int, pairs: int) -> int:
    """Return what the truth of a leg's pairs and of those to validate on costs, and the measuring of its error."""
    finest = min(EXACT, max(LONG[0], TEACHING_PER_EVALUATION * task.nfe))
    each = finest if leg else LONG[0]
    return each * (pairs + effort.validation) + (probing_cost() if effort.probed else 0)


def _of_adam(task: Task, effort: Effort, left: float) -> Forecast:
    settings = AdamSettings(task.iterations or AdamSettings.iterations)
    pairs = task.pairs or effort.pairs
    look = task.nfe * effort.validation
    found = Forecast(EXACT * (pairs + effort.validation), start_cost(task, effort), 0, 2 * look, pairs)
    each = 3 * task.nfe * min(settings.batch, pairs)
    iterations = int(max(0, min(settings.iterations, (left - found.total) / (each + look / settings.check_every))))
    checks = 2 + iterations // settings.check_every
    return replace(found, training=iterations * each, validation=checks * look)


def _of_paper(task: Task) -> Forecast:
    recipe = PaperRecipe()
    pairs, iterations = task.pairs or recipe.pairs, task.iterations or recipe.iterations
    checks = iterations // recipe.check_every + 1
    starts = len(recipe.sigma_0) * (2 if task.nfe % 2 == 0 else 1)
    return Forecast(
        EXACT * (pairs + recipe.validation_pairs),
        starts * task.nfe * pairs,
        3 * task.nfe * recipe.batch * iterations,
        checks * task.nfe * recipe.validation_pairs,
        pairs,
    )
