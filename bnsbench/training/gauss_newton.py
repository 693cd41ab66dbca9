"""Sketched Gauss-Newton on the mean log MSE of the end state, with the last row solved exactly (variable projection).

The loss is L = mean_s log m_s with m_s = |x_n^s - x*_s|^2 / d. Its gradient is exact (one cotangent r_s / m_s per sample);
the Gauss-Newton matrix H = mean_s J_s^T J_s / (d m_s) is estimated from random cotangents z_s / sqrt(m_s), z_s = +-1, since
E[z z^T] = I. One backward sweep gives rows for every sample, so n (1 + 2 K) N evaluations buy gradient and matrix.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bnsbench.flows.noise import stream_seed
from bnsbench.flows.pairs import Pairs
from bnsbench.training.greedy import RowRegression
from bnsbench.training.parametrisations import Parametrisation
from bnsbench.training.problem import Cost
from bnsbench.training.rollout import Rollout, gradient_rows, run
from bnsbench.training.table import Table

_SMALLEST_ERROR = 1e-28
_LARGEST_LOG_GAP_STEP = 2.0


@dataclass(frozen=True)
class Iterate:
    """Parameters, their table with its run on the training pairs, and its loss, mean_s log m_s in nats."""

    theta: Tensor
    table: Table
    rollout: Rollout
    loss: float


@dataclass(frozen=True)
class Schedule:
    """When to stop and how to damp.

    iterations: at most. patience: iterations without a gain of ``smallest_gain`` nats after which to stop.
    rows_per_parameter: sketch rows per parameter, which sets the number of sketches for a batch size.
    """

    iterations: int = 20
    patience: int = 3
    smallest_gain: float = 5e-3
    rows_per_parameter: float = 3.0
    damping: float = 1e-3
    factors: tuple[float, ...] = (1.0, 10.0, 0.1)


@dataclass
class GaussNewton:
    """A descent of one family on one set of pairs; ``cost`` is added to as evaluations are spent.

    seed: of the sketches, which are drawn anew at every iteration.
    """

    family: Parametrisation
    pairs: Pairs
    cost: Cost
    seed: int = 0
    schedule: Schedule = Schedule()

    def minimise(self, observe: Callable[[int, Iterate, float], bool]) -> None:
        """Descend from the family's start; ``observe(iteration, iterate, damping)`` sees every iterate and may stop.

        The damping adapts by the measured loss: the best of a few multiples is kept; if none improves, it grows thirtyfold.
        """
        iterate, damping, idle = self.evaluate(self.family.start()), self.schedule.damping, 0
        if observe(0, iterate, damping):
            return
        for iteration in range(1, self.schedule.iterations + 1):
            before = iterate.loss
            gradient, curvature = self.sketch(iterate, iteration)
            iterate, damping = self._best_step(iterate, _damped_step(gradient, curvature, self.family.log_gaps), damping)
            idle = idle + 1 if before - iterate.loss < self.schedule.smallest_gain else 0
            if observe(iteration, iterate, damping) or idle >= self.schedule.patience:
                return

    def evaluate(self, theta: Tensor) -> Iterate:
        """Run the table of these parameters, its last row the least-squares one if the family holds it."""
        table, pairs = self.family.table(theta), self.pairs
        rollout = run(table, pairs.field, pairs.x0)
        self.cost.training += table.n * len(pairs)
        if not bool(torch.isfinite(rollout.basis).all()):
            return Iterate(theta, table, rollout, math.inf)
        truth = pairs.x1.flatten(1).to(rollout.end)
        plain = Iterate(theta, table, rollout, _loss(rollout, truth))
        row = RowRegression(rollout.basis, truth).solve(6, 1e-12)
        projected = self.family.with_last_row(theta, row)
        if projected is None:
            return plain
        end = torch.tensordot(row.to(rollout.end), rollout.basis, dims=1)
        ended = Rollout(rollout.basis, rollout.states, end)
        better = Iterate(projected, table.with_row(table.n - 1, row), ended, _loss(ended, truth))
        return better if better.loss < plain.loss else plain

    def sketch(self, iterate: Iterate, iteration: int) -> tuple[Tensor, Tensor]:
        """Return half the loss's gradient [p] and the estimated Gauss-Newton matrix [p, p] in the family's parameters."""
        table, rollout, pairs = iterate.table, iterate.rollout, self.pairs
        count, d = rollout.end.shape
        residual = rollout.end - pairs.x1.flatten(1).to(rollout.end)
        errors = residual.double().square().mean(1, keepdim=True).clamp_min(_SMALLEST_ERROR).to(residual)
        jacobian = self.family.jacobian(iterate.theta)
        sketches = max(1, math.ceil(self.schedule.rows_per_parameter * jacobian.shape[1] / count))
        generator = torch.Generator().manual_seed(stream_seed(self.seed, "sketch", table.n, iteration))
        signs = torch.randint(0, 2, (sketches, count, d), generator=generator).to(residual) * 2 - 1
        cotangents = torch.cat([(residual / errors)[None], signs / errors.sqrt()])
        rows = gradient_rows(table, pairs.field, pairs.x0, rollout, cotangents) @ jacobian
        self.cost.training += (table.n - 1) * count * (1 + 2 * len(cotangents))
        drawn = rows[1:].flatten(0, 1)
        return rows[0].mean(0) / d, drawn.T @ drawn / (len(drawn) * d)

    def _best_step(self, iterate: Iterate, step: Callable[[float], Tensor], damping: float) -> tuple[Iterate, float]:
        best, kept = iterate, 30.0 * damping
        for factor in self.schedule.factors:
            trial = self.evaluate(iterate.theta + step(factor * damping))
            if trial.loss < best.loss:
                best, kept = trial, factor * damping
        return best, max(kept, 1e-12)


def _loss(rollout: Rollout, truth: Tensor) -> float:
    loss = float(rollout.errors(truth).clamp_min(_SMALLEST_ERROR).log().mean())
    return loss if math.isfinite(loss) else math.inf


def _damped_step(gradient: Tensor, curvature: Tensor, times: int) -> Callable[[float], Tensor]:
    """Return lambda -> -(H + lambda diag H)^-1 g, the steps of the ``times`` log-gaps bounded."""
    scale = curvature.diagonal().clamp_min(1e-300).sqrt()
    values, vectors = torch.linalg.eigh(curvature / scale / scale[:, None])
    projected = vectors.T @ (gradient / scale)

    def step(damping: float) -> Tensor:
        move: Tensor = -(vectors @ (projected / (values.clamp_min(0.0) + damping))) / scale
        move[:times] = move[:times].clamp(-_LARGEST_LOG_GAP_STEP, _LARGEST_LOG_GAP_STEP)
        return move

    return step
