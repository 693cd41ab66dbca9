"""What a user says about how far a training goes, and what a training would cost: before anything is spent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from bnsbench.contract import Selection
from bnsbench.contract.sources import BUILTIN
from bnsbench.contract.specs import SolverSpec
from bnsbench.errors import UsageError
from bnsbench.training.allowance import Allowance
from bnsbench.training.budget import Budget
from bnsbench.training.problem import Cost, Effort, effort_in
from bnsbench.training.recipes.bns import FIRST_SHARE, SPLIT, rung_below
from bnsbench.training.recipes.fitting import LADDER_SHARE, fitted, least, worth_a_rung
from bnsbench.training.recipes.forecast import Forecast, Task, forecast, split_task, stage_forecast, task_of
from bnsbench.training.speed import Speed, measure
from bnsbench.truth.pairs import PairSource

PARTS = (0.5, 0.2, 0.1)
"""The smaller budgets of which an estimate tells, as parts of what a training costs without one."""


def effort_of(
    selection: Selection[SolverSpec],
    sources: Sequence[PairSource],
    budget: str | float | None = None,
    gain: float | None = None,
) -> Effort:
    """Return the effort that a user asks for.

    Args:
        selection: The solver to be trained.
        sources: What it is trained for; a budget of time needs the network's speed, which is measured.
        budget: Forwards such as 50000, "50k" or "1.5M", or a time such as "90s", "20min" or "2h"; None for no limit.
        gain: Decibels that the next 10,000 forwards have to bring for the training to go on; None where it decides itself.

    Raises:
        UsageError: For what is no budget or gain, or a solver that takes none.
    """
    usual = effort_in(sources[0].model.shape)
    if budget is None and gain is None:
        return usual
    if not _is_built_in(selection) or _is_paper(selection):
        raise UsageError(
            f"The solver {selection.name!r} decides itself how far it goes: it takes neither a budget nor a gain."
        )
    if gain is not None:
        _check_gain(selection, gain)
    limit = None if budget is None else Budget.parse(budget)
    if limit is not None and limit.seconds is not None:
        limit = replace(limit, pace=measure(_dearest(sources)).seconds)
    return replace(usual, budget=limit, price=gain or 0.0)


def _check_gain(selection: Selection[SolverSpec], gain: float) -> None:
    if not 0 < gain < math.inf:
        raise UsageError(f"The gain is so many decibels above 0 for 10,000 forwards, not {gain:g}.")
    if selection.parameters.get("gain"):
        raise UsageError("The solver's own gain, in nats, and a gain in decibels cannot both decide; leave one of them out.")
    if selection.parameters.get("optimiser") == "adam":
        raise UsageError("Adam goes to the end of its iterations, so it takes no gain; give it a budget.")


def _is_built_in(selection: Selection[SolverSpec]) -> bool:
    return selection.spec.provider == BUILTIN and selection.spec.kind == "trained"


def _is_paper(selection: Selection[SolverSpec]) -> bool:
    return selection.parameters.get("recipe") == "paper"


def _dearest(sources: Sequence[PairSource]) -> PairSource:
    return max(sources, key=lambda source: source.forwards_per_evaluation)


@dataclass(frozen=True)
class Course:
    """What a training would do with a budget.

    Args:
        budget: In forwards; None for all that gains.
        phases: Forwards by phase, lower rungs included.
        seconds: That they take.
        rungs: NFE of the lower rungs that are trained before.
        pairs: On which it learns at last.
        validation: Pairs on which tables are chosen.
    """

    budget: float | None
    phases: dict[str, int]
    seconds: float
    rungs: tuple[int, ...]
    pairs: int
    validation: int

    @property
    def forwards(self) -> int:
        """Those of all phases."""
        return sum(self.phases.values())

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers, JSON-like."""
        return {**vars(self), "forwards": self.forwards, "rungs": list(self.rungs)}


@dataclass(frozen=True)
class TrainingEstimate:
    """What a training of one NFE would cost, whole and with smaller budgets.

    Args:
        nfe: Evaluations of the table.
        speed: Of the network, as measured.
        courses: The whole one first; the last one has the least budget that works.
    """

    nfe: int
    speed: Speed
    courses: tuple[Course, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers, JSON-like."""
        whole, *smaller = [course.to_dict() for course in self.courses]
        return {"nfe": self.nfe, "speed": self.speed.to_dict(), **whole, "budgets": smaller}


def estimates(
    selection: Selection[SolverSpec], sources: Sequence[PairSource], budgets: Sequence[int], effort: Effort | None = None
) -> list[TrainingEstimate]:
    """Return what trainings would cost, by NFE; a few forwards are measured, and nothing is trained or kept.

    Args:
        selection: The solver to be trained.
        sources: What it is trained for.
        budgets: The NFE.
        effort: That the user asks for.

    Raises:
        UsageError: For a solver whose training is not known beforehand, or a budget that does not suffice.
    """
    if not _is_built_in(selection):
        raise UsageError(f"What {selection.name!r} costs is not known beforehand; the built-in trainings can be estimated.")
    source = _dearest(sources)
    asked = effort or effort_in(source.model.shape)
    speed = measure(source)
    return [_estimate(selection, source, nfe, asked, speed) for nfe in budgets]


def _estimate(
    selection: Selection[SolverSpec], source: PairSource, nfe: int, effort: Effort, speed: Speed
) -> TrainingEstimate:
    whole = _course(selection, source, nfe, effort, speed)
    courses = [whole]
    if not _is_paper(selection):
        # The first of two stages has a share of the budget.
        later = (selection.parameters.get("columns") == SPLIT) + bool(selection.parameters.get("then"))
        needed = least(_task(selection, source, nfe)) * source.forwards_per_evaluation / FIRST_SHARE**later
        smaller = [part * whole.forwards for part in PARTS if part * whole.forwards > needed]
        for forwards in (*smaller, needed):
            limited = replace(effort, budget=Budget(forwards=_round_up(forwards)))
            courses.append(_course(selection, source, nfe, limited, speed))
    return TrainingEstimate(nfe, speed, tuple(courses))


def _round_up(forwards: float) -> float:
    """Return a number of forwards in two digits, no smaller."""
    unit = 10.0 ** max(0, math.floor(math.log10(forwards)) - 1)
    return unit * math.ceil(forwards / unit)


def _task(selection: Selection[SolverSpec], source: PairSource, nfe: int) -> Task:
    return task_of(selection.spec.name, nfe, selection.parameters, math.prod(source.model.shape))


def _course(selection: Selection[SolverSpec], source: PairSource, nfe: int, effort: Effort, speed: Speed) -> Course:
    each, budget = source.forwards_per_evaluation, effort.budget
    split, then = selection.parameters.get("columns") == SPLIT, selection.parameters.get("then")
    first = budget.part(FIRST_SHARE) if then and budget is not None else budget
    guided = first.part(FIRST_SHARE) if split and first is not None else first
    rungs = _rungs(selection, source, nfe, guided, speed)
    found = Forecast()
    for place, rung in enumerate((*rungs, nfe)):
        task = replace(_task(selection, source, rung), rung=place > 0)
        share = None if guided is None else _in_forwards(guided, speed).part(LADDER_SHARE ** (len(rungs) - place))
        allowance = Allowance(share, Cost(), source, below=Cost(training=found.total))
        own = fitted(task, effort, allowance)
        found = forecast(task, own, allowance.left).after(found)
    if split:
        task = split_task(nfe, selection.parameters, math.prod(source.model.shape))
        share = None if first is None else _in_forwards(first, speed)
        allowance = Allowance(share, Cost(), source, below=Cost(training=found.total))
        found = forecast(task, fitted(task, replace(effort, parts=()), allowance), allowance.left).after(found)
    if then:
        share = None if budget is None else _in_forwards(budget, speed)
        left = Allowance(share, Cost(), source, below=Cost(training=found.total)).left
        stage = stage_forecast(nfe, 2 if split else 1, left)
        found = replace(stage.after(found), pairs=found.pairs)
    phases = {phase: each * count for phase, count in found.phases.items()}
    limit = None if budget is None else _in_forwards(budget, speed).forwards
    return Course(limit, phases, speed.seconds * sum(phases.values()), rungs, found.pairs, own.validation)


def _in_forwards(budget: Budget, speed: Speed) -> Budget:
    """Return a budget of time as one of forwards."""
    return budget if budget.seconds is None else Budget(forwards=budget.seconds / speed.seconds)


def _rungs(
    selection: Selection[SolverSpec], source: PairSource, nfe: int, budget: Budget | None, speed: Speed
) -> tuple[int, ...]:
    """Return the lower rungs of the ladder that are trained first, the lowest first."""
    parameters = selection.parameters
    if selection.spec.name != "bns" or parameters.get("init") or _is_paper(selection):
        return ()
    below = rung_below(nfe, str(parameters.get("ladder", "standard")), math.prod(source.model.shape))
    share = None if budget is None else _in_forwards(budget, speed)
    if below is None or not worth_a_rung(_task(selection, source, below), Allowance(share, Cost(), source)):
        return ()
    return (*_rungs(selection, source, below, None if share is None else share.part(LADDER_SHARE), speed), below)
