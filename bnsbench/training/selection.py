"""Choosing the iterate: the best validation PSNR so far, with the cost and the curve that led there."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch

from bnsbench.errors import DivergedError
from bnsbench.flows.pairs import Pairs
from bnsbench.flows.psnr import decibels
from bnsbench.training.problem import Cost, Curve, Problem, TrainingStatus
from bnsbench.training.rollout import run
from bnsbench.training.table import Table


def psnr(table: Table, pairs: Pairs, data_range: float) -> float:
    """Return the mean over samples of 10 log10(range^2 / MSE_s) in dB; -inf if a state is not finite."""
    errors = run(table, pairs.field, pairs.x0).errors(pairs.x1.flatten(1))
    if not bool(torch.isfinite(errors).all()):
        return -math.inf
    return float(decibels(errors.clamp_min(1e-28), data_range).mean())


@dataclass
class Selection:
    """Keeps the table with the best validation PSNR.

    patience: checks without a gain of ``smallest_gain`` dB after which `check` asks to stop.
    """

    problem: Problem
    pairs: Pairs
    nfe: int
    total: int
    cost: Cost
    patience: int
    smallest_gain: float = 0.05
    curve: Curve = field(default_factory=Curve)
    best: Table | None = None
    best_psnr: float = -math.inf
    idle: int = 0

    def check(self, iteration: int, table: Table, stage: str, damping: float | None = None) -> bool:
        """Measure a table, keep it if it is the best, report; return whether to stop."""
        value = psnr(table, self.pairs, self.problem.source.model.data_range)
        self.cost.validation += table.n * len(self.pairs)
        self.curve.add(self.cost, value, iteration=iteration)
        self.idle = 0 if value > self.best_psnr + self.smallest_gain else self.idle + 1
        if value > self.best_psnr:
            self.best, self.best_psnr = table, value
        self.problem.report(TrainingStatus(self.nfe, stage, iteration, self.total, self.best_psnr, damping))
        return self.idle >= self.patience

    def state(self) -> dict[str, Any]:
        """Return what has been found so far, as tensors and plain numbers."""
        best = None if self.best is None else {"times": self.best.times.detach(), "rows": self.best.rows.detach()}
        found = {"best": best, "best_psnr": self.best_psnr, "idle": self.idle, "curve": self.curve.points}
        return {**found, "cost": self.cost.to_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""
        self.best = None if state["best"] is None else Table(**state["best"])
        self.best_psnr, self.idle, self.curve.points = state["best_psnr"], state["idle"], state["curve"]
        self.cost.restore(state["cost"])

    def result(self) -> Table:
        """Return the best table; DivergedError if none ever gave finite states."""
        if self.best is None:
            name, w = self.problem.source.name, self.problem.source.guidance
            raise DivergedError(
                f"No table of {self.nfe} NFE for {name} at w={w:g} gave finite samples; the field is not finite where it "
                "is evaluated, so check its interval and precision."
            )
        return self.best
