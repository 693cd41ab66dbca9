"""Choosing the iterate: the least validation loss so far, with the cost and the curve that led there."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch

from bnsbench.errors import DivergedError
from bnsbench.training.families.table import Table
from bnsbench.training.objectives import SMALLEST_ERROR, Objective
from bnsbench.training.optimisers.rollout import Rollout, run
from bnsbench.training.problem import Cost, Curve, Problem, TrainingStatus
from bnsbench.truth.mixed_source import guidance_in_words
from bnsbench.truth.pairs import Pairs
from bnsbench.truth.psnr import decibels


def psnr(table: Table, pairs: Pairs, data_range: float) -> float:
    """Return the mean over samples of 10 log10(range^2 / MSE_s) in dB; -inf if a state is not finite."""
    return _psnr(run(table, pairs.field, pairs.x0), pairs, data_range)


def _psnr(rollout: Rollout, pairs: Pairs, data_range: float) -> float:
    errors = rollout.errors(pairs.x1.flatten(1)).cpu()
    if not bool(torch.isfinite(errors).all()):
        return -math.inf
    return float((pairs.sample_weights() * decibels(errors.clamp_min(SMALLEST_ERROR), data_range)).sum())


@dataclass
class Selection:
    """Keeps the table with the least validation loss.

    patience: checks without a gain of ``smallest_gain`` nats after which `check` asks to stop.
    """

    problem: Problem
    objective: Objective
    pairs: Pairs
    nfe: int
    cost: Cost
    patience: int
    smallest_gain: float = 3e-3
    curve: Curve = field(default_factory=Curve)
    best: Table | None = None
    best_loss: float = math.inf
    best_psnr: float = -math.inf
    idle: int = 0

    def check(self, table: Table, stage: str, iteration: int, total: int, damping: float | None = None) -> bool:
        """Measure a table, keep it if it is the best, report; return whether to stop."""
        rollout = run(table, self.pairs.field, self.pairs.x0)
        self.cost.validation += table.n * len(self.pairs)
        loss = self._loss(table, rollout)
        value = _psnr(rollout, self.pairs, self.problem.source.model.data_range)
        self.curve.add(self.cost, value, loss=round(loss, 6), iteration=iteration)
        self.idle = 0 if loss < self.best_loss - self.smallest_gain else self.idle + 1
        if loss < self.best_loss:
            self.best, self.best_loss, self.best_psnr = table, loss, value
        spent = sum(self.cost.forwards(self.problem.source).values())
        status = TrainingStatus(self.nfe, stage, iteration, total, self.best_psnr, damping, loss, spent)
        self.problem.report(status)
        return self.idle >= self.patience

    def _loss(self, table: Table, rollout: Rollout) -> float:
        if not bool(rollout.states.isfinite().all()):
            return math.inf
        with torch.no_grad():
            errors = self.objective.errors(self.pairs, *rollout.seen(table, self.objective.whole)).cpu()
        loss = float(self.objective.loss(errors, self.pairs.sample_weights()))
        return loss if math.isfinite(loss) else math.inf

    def state(self) -> dict[str, Any]:
        """Return what has been found so far, as tensors and plain numbers."""
        best = None if self.best is None else {"times": self.best.times.detach(), "rows": self.best.rows.detach()}
        found = {"best": best, "best_loss": self.best_loss, "best_psnr": self.best_psnr, "idle": self.idle}
        return {**found, "curve": self.curve.points, "cost": self.cost.to_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""
        self.best = None if state["best"] is None else Table(**state["best"])
        self.best_loss, self.best_psnr, self.idle = state["best_loss"], state["best_psnr"], state["idle"]
        self.curve.points = state["curve"]
        self.cost.restore(state["cost"])

    def result(self) -> Table:
        """Return the best table; DivergedError if none ever gave finite states."""
        if self.best is None:
            source = self.problem.source
            setting = f"{source.name} at w={guidance_in_words(source.guidance)}"
            raise DivergedError(
                f"No table of {self.nfe} NFE for {setting} gave finite samples;"
                " the field is not finite where it is evaluated, so check its interval and precision."
            )
        return self.best
