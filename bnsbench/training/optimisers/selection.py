"""Choosing the iterate: the least validation loss so far, with the cost and the curve that led there."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from bnsbench.errors import DivergedError
from bnsbench.flows.guidance import guidance_in_words
from bnsbench.nonstationary.table import NonStationarySolver
from bnsbench.training.allowance import Allowance
from bnsbench.training.floor import floor_under
from bnsbench.training.objectives import SMALLEST_ERROR, Objective
from bnsbench.training.optimisers.rollout import run
from bnsbench.training.problem import Cost, Problem, TrainingStatus, ValidationCurve
from bnsbench.truth.pairs import Pairs
from bnsbench.truth.psnr import decibels


def clamped_decibels(errors: Tensor, data_range: float) -> Tensor:
    """Return the PSNR in dB of each sample's mean squared error [N], none of which counts as less than SMALLEST_ERROR."""
    return decibels(errors.clamp_min(SMALLEST_ERROR), data_range)


def mean_psnr(errors: Tensor, weights: Tensor, data_range: float) -> float:
    """Return the mean PSNR in dB of samples with these mean squared errors [N]; -inf if one is not finite.

    weights: of the samples [N] in float64 on the CPU, summing to one.
    """
    errors = errors.cpu()
    if not bool(torch.isfinite(errors).all()):
        return -math.inf
    return float((weights * clamped_decibels(errors, data_range)).sum())


def psnr(table: NonStationarySolver, pairs: Pairs, data_range: float) -> float:
    """Return the mean over samples of 10 log10(range^2 / MSE_s) in dB; -inf if a state is not finite."""
    rollout = run(table, pairs.field, pairs.x0)
    return mean_psnr(rollout.errors(pairs.x1.flatten(1)), pairs.sample_weights(), data_range)


@dataclass
class IterateSelection:
    """Keeps the table with the least validation loss.

    Args:
        problem: whose listener is told of every check.
        objective: whose loss decides.
        pairs: to validate on.
        nfe: of the tables.
        cost: where the evaluations are counted.
        patience: checks in a row without a gain of ``smallest_gain`` after which there is no point in going on.
        smallest_gain: of the validation loss, in nats.
        floor: share of the median error that is the objective's floor; of two tables, the better one has the lower floor,
            under which both are measured.
        allowance: what may still be spent; without a budget if None.
        curve: the validation PSNR so far.
        best: the best table so far, if any was finite, with its loss in nats and its PSNR in dB.
        best_errors: every validation sample's error by that table.
        idle: checks in a row without a gain.
    """

    problem: Problem
    objective: Objective
    pairs: Pairs
    nfe: int
    cost: Cost
    patience: int
    smallest_gain: float = 1e-2
    floor: float = 0.0
    allowance: Allowance | None = None
    curve: ValidationCurve = field(default_factory=ValidationCurve)
    best: NonStationarySolver | None = None
    best_loss: float = math.inf
    best_psnr: float = -math.inf
    best_errors: Tensor | None = None
    idle: int = 0

    @property
    def forwards(self) -> int:
        """Forwards that have been spent so far, by all purposes."""
        return sum(self.cost.forwards(self.problem.source).values())

    @property
    def exhausted(self) -> bool:
        """Whether so many checks have brought no gain that there is no point in going on."""
        return self.idle >= self.patience

    def check(
        self, table: NonStationarySolver, stage: str, iteration: int, total: int, damping: float | None = None
    ) -> float:
        """Measure a table, keep it if it is the best, and report; return its loss in nats."""
        errors, value = self._measure(table)
        loss, gain = self._loss(errors), self._gain(errors)
        self.curve.add(self.cost, value, forwards=self.forwards, loss=round(loss, 6), iteration=iteration)
        self.idle = 0 if gain > self.smallest_gain else self.idle + 1
        if gain > 0:
            self.best, self.best_loss, self.best_psnr, self.best_errors = table, loss, value, errors
        self.problem.report(
            TrainingStatus(
                nfe=self.nfe,
                stage=stage,
                iteration=iteration,
                total=total,
                psnr=self.best_psnr,
                damping=damping,
                loss=loss,
                forwards=self.forwards,
                expected=self.problem.expected,
            )
        )
        return loss

    def measure_again(self, pairs: Pairs) -> None:
        """Take other pairs, of a finer truth, to validate on from here on, and measure the best table on them."""
        self.pairs = pairs
        if self.best is not None:
            self.best_errors, self.best_psnr = self._measure(self.best)
            self.best_loss = self._loss(self.best_errors)

    def _measure(self, table: NonStationarySolver) -> tuple[Tensor, float]:
        """Return the objective's error of every sample [N], infinite if a state is not finite, and the PSNR in dB."""
        rollout = run(table, self.pairs.field, self.pairs.x0)
        self.cost.validation += table.nfe * len(self.pairs)
        value = mean_psnr(
            rollout.errors(self.pairs.x1.flatten(1)), self.pairs.sample_weights(), self.problem.source.model.data_range
        )
        if not bool(rollout.states.isfinite().all()):
            return torch.full((len(self.pairs),), math.inf, dtype=torch.float64), value
        with torch.no_grad():
            return self.objective.errors(self.pairs, *rollout.compared(table, self.objective.whole)).cpu(), value

    def _gain(self, errors: Tensor) -> float:
        """Return the nats by which a table with these errors is better than the best one, under the floor of the better."""
        if not bool(errors.isfinite().all()):
            return -math.inf
        if self.best_errors is None:
            return math.inf
        floor = floor_under(self.floor, errors, self.best_errors)
        return self._loss(self.best_errors, floor) - self._loss(errors, floor)

    def _loss(self, errors: Tensor, floor: float | None = None) -> float:
        """Return the loss of errors [N] in nats, under their own floor if none is given."""
        if not bool(errors.isfinite().all()):
            return math.inf
        under = floor_under(self.floor, errors) if floor is None else floor
        return float(self.objective.loss(errors, self.pairs.sample_weights(), under))

    def state(self) -> dict[str, Any]:
        """Return what has been found so far, as tensors and plain numbers."""
        best = self.best and {
            "times": self.best.times.detach(),
            "rows": self.best.rows.detach(),
            "guidance": self.best.guidance,
        }
        found = {"best": best, "best_loss": self.best_loss, "best_psnr": self.best_psnr, "idle": self.idle}
        seconds = 0.0 if self.allowance is None else self.allowance.seconds
        paid = {"cost": self.cost.to_dict(), "seconds": seconds}
        return {**found, "best_errors": self.best_errors, "curve": self.curve.points, **paid}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""
        self.best = None if state["best"] is None else NonStationarySolver.from_rows(**state["best"])
        self.best_loss, self.best_psnr, self.idle = state["best_loss"], state["best_psnr"], state["idle"]
        self.best_errors = state["best_errors"]
        self.curve.points = state["curve"]
        self.cost.restore(state["cost"])
        if self.allowance is not None:
            self.allowance.resume(state.get("seconds", 0.0))

    def result(self) -> NonStationarySolver:
        """Return the best table; DivergedError if none ever gave finite states."""
        if self.best is None:
            source = self.problem.source
            setting = f"{source.name} at w={guidance_in_words(source.guidance)}"
            raise DivergedError(
                f"No table of {self.nfe} NFE for {setting} gave finite samples;"
                " the field is not finite where it is evaluated, so check its interval and precision."
            )
        return self.best
