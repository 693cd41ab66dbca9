"""A second stage after the optimum of fidelity: at very few evaluations, samples that look right before they are near.

Where a table is too short to come near the truth, the errors that are left can be moved to where they hurt less. From the
table that the first stage has trained, a few steps lower

    log F + mean_s log(e_s + f)

with F the Frechet distance between the features of samples and those of their truth, e_s the mean squared errors and f
their floor at the beginning: a nat of the one is given up for no less than a nat of the other. The features are those of
samples as metrics see them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from torch import Tensor

from bnsbench.errors import NotApplicableError, UsageError
from bnsbench.nonstationary.table import NonStationarySolver
from bnsbench.process.parts import EXTRACTOR, Parts
from bnsbench.training.allowance import Allowance
from bnsbench.training.economy import BUDGET
from bnsbench.training.families.parametrisation import FreeTable
from bnsbench.training.floor import floor_under
from bnsbench.training.objectives import count_features
from bnsbench.training.optimisers.checkpoint import Checkpoint
from bnsbench.training.optimisers.forward_derivatives import evaluations_per_direction
from bnsbench.training.optimisers.likeness import Likeness, LikenessSteps, step_cost
from bnsbench.training.optimisers.rollout import run
from bnsbench.training.optimisers.selection import mean_psnr
from bnsbench.training.problem import Cost, Features, Problem, TrainingStatus, ValidationCurve
from bnsbench.training.teaching import LONG, Teaching

NOTHING, FEATURES = STAGES = ("", "features")
"""What may follow the optimum of fidelity."""
PAIRS = (256, 128, 64)
"""Pairs to train on, and as many to choose on: covariances of features take more of them than mean errors. Where a budget
has no room for the first number, the next."""
STEPS, SLOW_GAIN = 8, 1e-2
"""At most so many steps; one that lowers the loss on the training pairs by less than so many nats is the last."""
CHARGE = 0.1
"""Of the first step, see `bnsbench.training.optimisers.likeness.LikenessSteps`."""
CONVERGED, SPENT = "converged on the training pairs", "all steps are spent"


@dataclass(frozen=True)
class Standing:
    """How good a table is on the validation pairs: its loss in nats, Frechet distance of features, and PSNR in dB."""

    loss: float
    frechet: float
    psnr: float


@dataclass(frozen=True)
class StageState:
    """Where the stage stands between two steps: all that the next one depends on.

    Args:
        theta: the family's parameters [p].
        charge: of the next step.
        steps: so far.
        gain: nats by which the last one has lowered the loss on the training pairs.
        best: the parameters with the least loss on the validation pairs; None for the table at the beginning.
        standing: of that table.
        began: the standing of the table at the beginning.
        floor: of the loss, an error.
    """

    theta: Tensor
    charge: float
    steps: int
    gain: float
    best: Tensor | None
    standing: Standing
    began: Standing
    floor: float

    def to_dict(self) -> dict[str, Any]:
        """Return the state as tensors and plain numbers."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return found | {name: vars(found[name]) for name in ("standing", "began")}

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> StageState:
        """Return the state that `to_dict` gave."""
        return cls(**{**saved, "standing": Standing(**saved["standing"]), "began": Standing(**saved["began"])})


def check_stage(then: str, problem: Problem) -> None:
    """Say whether a problem can have a second stage, before anything is spent on the first.

    Args:
        then: of `STAGES`.
        problem: the field to train for.

    Raises:
        UsageError: for a stage that does not exist.
        NotApplicableError: for a model without features, or several guidance scales.
    """
    if then not in STAGES:
        raise UsageError(f"There is no second stage {then!r}; choose {FEATURES!r}, or leave it out.")
    if then and problem.shown is None:
        raise NotApplicableError(f"The second stage {then!r} needs a feature extractor, and this model has none.")
    guidance = problem.source.guidance
    if then and isinstance(guidance, tuple) and len(set(guidance)) > 1:
        raise NotApplicableError(
            f"The second stage {then!r} compares the samples of one guidance scale with their truth: train a table for each."
        )


def likeness_stage(
    problem: Problem, start: NonStationarySolver, psnr: float, floor: float, pairs: int, allowance: Allowance
) -> tuple[NonStationarySolver, dict[str, Any]]:
    """Return the table whose samples look most like the truth, and the training record.

    Args:
        problem: the field to train for; it has passed `check_stage`.
        start: the table to go on from.
        psnr: its PSNR in dB, about, which says how fine the truth has to be.
        floor: share of the median error under which a sample's error counts no more.
        pairs: to train on, and to choose on; 0 for as many as are of use.
        allowance: what may still be spent; its cost is added to.
    """
    count = pairs or affordable(problem, start, allowance)
    if not count:
        reason = BUDGET.format(allowance.budget)
        problem.note(f"The second stage was left out: {reason}.")
        left_out = {"psnr": psnr, "pairs": 0, "stopped": reason, "iterations": 0, "curve": []}
        return start, {**left_out, **allowance.cost.record(problem.source), "budget": allowance.record()}
    table, record = _Stage(problem, start, psnr, floor, count, allowance).descend()
    (before, distance), (level, psnr) = record["frechet"], record["fidelity"]
    problem.note(
        f"The second stage took the Frechet distance of features from {before:.3g} to {distance:.3g} on {count} validation"
        f" pairs, and the PSNR from {level:.2f} to {psnr:.2f} dB."
    )
    return table, record


def affordable(problem: Problem, start: NonStationarySolver, allowance: Allowance) -> int:
    """Return the pairs on which a step at least fits into what may still be spent; 0 if there is no room for any."""
    if allowance.budget is None:
        return PAIRS[0]
    needed = {count: beginning(problem, start, count) + _step(problem, start, count) for count in PAIRS}
    return next((count for count in PAIRS if allowance.affords(needed[count])), 0)


def beginning(problem: Problem, start: NonStationarySolver, count: int) -> float:
    """Return the evaluations that it takes, about, to begin on so many pairs: truth, and a look at both splits."""
    extracted = 4 * count / problem.source.forwards_per_evaluation
    return 2 * count * (LONG[0] + start.nfe) + count * start.nfe + extracted


def _step(problem: Problem, start: NonStationarySolver, count: int) -> float:
    each = evaluations_per_direction("difference", problem.source.model.dtype)
    return step_cost(start.nfe, start.columns, count, problem.source.forwards_per_evaluation, each)


def counted(problem: Problem, cost: Cost) -> Features:
    """Return the features of samples as metrics see them, counted."""
    features = count_features(problem.shown, cost)
    if features is None:
        raise TypeError("a second stage without features has not been refused")
    return features


class _Stage:
    """The stage on so many pairs; arguments as of `likeness_stage`."""

    def __init__(
        self,
        problem: Problem,
        start: NonStationarySolver,
        psnr: float,
        floor: float,
        count: int,
        allowance: Allowance,
    ) -> None:
        self.problem, self.start, self.allowance = problem, start, allowance
        self.cost, self.share, self.count = allowance.cost, floor, count
        self.checkpoint, self.curve = Checkpoint(problem.checkpoint), ValidationCurve()
        opened = start if bool((start.times.diff() > 0).all()) else start.with_open_gaps()
        self.family = FreeTable(opened, problem.source.model.path)
        # The truth, fine enough for the table; where there is a budget, the first teacher is trusted.
        probed = problem.effort.probed and allowance.budget is None
        self.teaching = Teaching(replace(problem, effort=replace(problem.effort, probed=probed)), self.cost)
        self.teaching.sharpen(psnr)
        self.train, self.validation = (self.teaching.pairs(split, count) for split in ("train", "validation"))
        features, parts = counted(problem, self.cost), Parts(notice=problem.notice, what=EXTRACTOR)
        self.likenesses = [Likeness.of(pairs, features, parts) for pairs in (self.train, self.validation)]

    def descend(self) -> tuple[NonStationarySolver, dict[str, Any]]:
        """Return the best table on the validation pairs, and the record."""
        saved = self.checkpoint.load()
        state = self._begin() if saved is None else self._resumed(saved)
        train, validation = (replace(likeness, floor=state.floor) for likeness in self.likenesses)
        steps = LikenessSteps(self.family, train, self.cost)
        while not (reason := self._why_stopped(state)):
            with self.allowance.timed():
                step = steps.step(state.theta, state.charge)
            state = replace(state, theta=step.theta, charge=step.charge, steps=state.steps + 1, gain=step.gain)
            if step.gain > 0:
                found = self._standing(self.family.table(step.theta), validation, state.steps)
                better = found.loss < state.standing.loss
                state = replace(state, best=step.theta, standing=found) if better else state
            self.checkpoint.save(
                {
                    "state": state.to_dict(),
                    "cost": self.cost.to_dict(),
                    "seconds": self.allowance.seconds,
                    "curve": self.curve.points,
                }
            )
            self._report(state)
        self.checkpoint.remove()
        table = self.start if state.best is None else self.family.table(state.best)
        return table, self._record(state, reason)

    def _begin(self) -> StageState:
        first = run(self.start, self.train.field, self.train.x0)
        self.cost.training += self.start.nfe * len(self.train)
        # The floor stays, so that one loss is lowered from the beginning to the end.
        floor = floor_under(self.share, first.errors(self.train.x1.flatten(1)))
        standing = self._standing(self.start, replace(self.likenesses[1], floor=floor), 0)
        state = StageState(self.family.start(), CHARGE, 0, math.inf, None, standing, standing, floor)
        self._report(state)
        return state

    def _resumed(self, saved: Mapping[str, Any]) -> StageState:
        self.cost.restore(saved["cost"])
        self.allowance.resume(saved["seconds"])
        self.curve.points = saved["curve"]
        return StageState.from_dict(saved["state"])

    def _standing(self, table: NonStationarySolver, likeness: Likeness, steps: int) -> Standing:
        """Return how good a table is on the validation pairs, counted and kept in the curve."""
        pairs, source = likeness.pairs, self.problem.source
        self.cost.validation += table.nfe * len(pairs)
        view = likeness.view(run(table, pairs.field, pairs.x0).end)
        psnr = mean_psnr(view.errors, pairs.sample_weights(), source.model.data_range)
        found = Standing(float(likeness.loss(view)), likeness.frechet(view), psnr)
        spent = sum(self.cost.forwards(source).values())
        known = {"forwards": spent, "loss": round(found.loss, 6), "frechet": found.frechet, "iteration": steps}
        self.curve.add(self.cost, psnr, **known)
        return found

    def _why_stopped(self, state: StageState) -> str:
        """Return why the stage ends here, or "" if it goes on."""
        if state.gain < SLOW_GAIN:
            return CONVERGED
        if state.steps >= STEPS:
            return SPENT
        fits = self.allowance.affords(_step(self.problem, self.start, self.count))
        return "" if fits else BUDGET.format(self.allowance.budget)

    def _report(self, state: StageState) -> None:
        self.problem.report(
            TrainingStatus(
                nfe=self.start.nfe,
                stage="features",
                iteration=state.steps,
                total=STEPS,
                psnr=state.standing.psnr,
                loss=state.standing.loss,
                forwards=self.allowance.forwards,
                expected=self.problem.expected,
            )
        )

    def _record(self, state: StageState, reason: str) -> dict[str, Any]:
        """Return what the training record says of the stage."""
        found, began = state.standing, state.began
        return {
            "family": type(self.family).__name__,
            "parameters": len(state.theta),
            "pairs": self.count,
            "validation_pairs": self.count,
            "teacher": self.teaching.teacher.name,
            "psnr": found.psnr,
            "loss": found.loss,
            "fidelity": [began.psnr, found.psnr],
            "frechet": [began.frechet, found.frechet],
            "stopped": reason,
            "iterations": state.steps,
            **self.cost.record(self.problem.source),
            "budget": self.allowance.record(),
            "price": None,
            "curve": self.curve.points,
        }
