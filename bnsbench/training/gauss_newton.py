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
from bnsbench.training.problem import Cost
from bnsbench.training.rollout import Rollout, gradient_rows, run
from bnsbench.training.table import Table

_SMALLEST_ERROR = 1e-28
_LARGEST_LOG_GAP_STEP = 2.0


@dataclass(frozen=True)
class Iterate:
    """A table with its run on the training pairs and its loss, mean_s log m_s in nats."""

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


def minimise(
    start: Table,
    pairs: Pairs,
    seed: int,
    schedule: Schedule,
    cost: Cost,
    observe: Callable[[int, Iterate, float], bool],
) -> None:
    """Improve the table on the pairs; ``observe(iteration, iterate, damping)`` sees each accepted iterate and may stop it.

    The damping adapts by the measured loss: the best of a few multiples is kept; if none improves, it grows thirtyfold.
    """
    iterate = evaluate(start, pairs, cost)
    damping, idle = schedule.damping, 0
    if observe(0, iterate, damping):
        return
    for iteration in range(1, schedule.iterations + 1):
        generator = torch.Generator().manual_seed(stream_seed(seed, "sketch", start.n, iteration))
        gradient, curvature = _sketch(iterate, pairs, schedule, generator, cost)
        previous = iterate.loss
        iterate, damping = _best_step(iterate, pairs, gradient, curvature, damping, schedule, cost)
        idle = idle + 1 if previous - iterate.loss < schedule.smallest_gain else 0
        if observe(iteration, iterate, damping) or idle >= schedule.patience:
            return


def evaluate(table: Table, pairs: Pairs, cost: Cost) -> Iterate:
    """Run a table on the pairs, its last row replaced by the least-squares one if that is better."""
    rollout = run(table, pairs.field, pairs.x0)
    cost.training += table.n * len(pairs)
    truth = pairs.x1.flatten(1).to(rollout.end)
    best = Iterate(table, rollout, _loss(rollout, truth))
    if not bool(torch.isfinite(rollout.basis).all()):
        return Iterate(table, rollout, math.inf)
    row = RowRegression(rollout.basis, truth).solve(6, 1e-12)
    end = torch.tensordot(row.to(rollout.end), rollout.basis, dims=1)
    projected = Rollout(rollout.basis, rollout.states, end)
    loss = _loss(projected, truth)
    return Iterate(table.with_row(table.n - 1, row), projected, loss) if loss < best.loss else best


def _loss(rollout: Rollout, truth: Tensor) -> float:
    loss = float(rollout.errors(truth).clamp_min(_SMALLEST_ERROR).log().mean())
    return loss if math.isfinite(loss) else math.inf


def _sketch(
    iterate: Iterate, pairs: Pairs, schedule: Schedule, generator: torch.Generator, cost: Cost
) -> tuple[Tensor, Tensor]:
    """Return half the gradient [p] and the Gauss-Newton matrix [p, p] in (log-gaps, rows)."""
    table, rollout = iterate.table, iterate.rollout
    count, d = rollout.end.shape
    residual = rollout.end - pairs.x1.flatten(1).to(rollout.end)
    errors = residual.double().square().mean(1, keepdim=True).clamp_min(_SMALLEST_ERROR).to(residual)
    parameters = table.n - 1 + table.n * (table.n + 3) // 2
    sketches = max(1, math.ceil(schedule.rows_per_parameter * parameters / count))
    signs = torch.randint(0, 2, (sketches, count, d), generator=generator).to(residual) * 2 - 1
    cotangents = torch.cat([(residual / errors)[None], signs / errors.sqrt()])
    rows = gradient_rows(table, pairs.field, pairs.x0, rollout, cotangents)
    cost.training += (table.n - 1) * count * (1 + 2 * len(cotangents))
    jacobian = table.time_jacobian()
    rows = torch.cat([rows[:, :, : table.n - 1] @ jacobian, rows[:, :, table.n - 1 :]], dim=2)
    sketch = rows[1:].reshape(-1, rows.shape[2])
    return rows[0].mean(0) / d, sketch.T @ sketch / (len(sketch) * d)


def _best_step(
    iterate: Iterate,
    pairs: Pairs,
    gradient: Tensor,
    curvature: Tensor,
    damping: float,
    schedule: Schedule,
    cost: Cost,
) -> tuple[Iterate, float]:
    step = _damped_step(gradient, curvature, iterate.table.n - 1)
    trials = [(factor * damping, step(factor * damping)) for factor in schedule.factors]
    best, kept = iterate, 30.0 * damping
    for value, move in trials:
        trial = evaluate(iterate.table.moved(move), pairs, cost)
        if trial.loss < best.loss:
            best, kept = trial, value
    return best, max(kept, 1e-12)


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
