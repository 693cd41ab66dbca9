"""Sketched Gauss-Newton on any family and objective, with the last row solved exactly where it has a closed form.

With residuals r_s [m], weights W_s = d loss / d e_s and the Jacobian J_s = d r_s / d theta, the gradient is
(2 / m) sum_s W_s J_s^T r_s and the Gauss-Newton matrix (2 / m) sum_s W_s J_s^T J_s (both are used without their 2). Going
backwards, the matrix is estimated from random cotangents sqrt(W_s) z_s, z_s = +-1, since E[z z^T] = I: one sweep gives rows
for every sample, so n (1 + 2 K) N evaluations buy gradient and matrix. Going forwards, both are exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bnsbench.training.families.parametrisation import Parametrisation
from bnsbench.training.families.table import Table
from bnsbench.training.objectives import Objective
from bnsbench.training.optimisers.forward_derivatives import (
    Derivative,
    differences,
    evaluations_per_direction,
    forward_mode,
    state_tangents,
)
from bnsbench.training.optimisers.rollout import Rollout, gradient_rows, run
from bnsbench.training.optimisers.row_regression import RowRegression
from bnsbench.training.problem import Cost
from bnsbench.truth.noise import stream_seed
from bnsbench.truth.pairs import Pairs

_LARGEST_LOG_STEP = 2.0
_LARGEST_DAMPING = 1e6
"""Steps damped more than this are a millionth of a gradient step, each parameter scaled by its effect."""
_LEAST_EFFECT = 1e-6
"""A parameter whose effect is smaller than this part of all effects is lost in rounding, and stays."""
_TANGENT_NUMBERS = 2**25
"""How many numbers of tangents are held at once; the samples are taken in parts that keep to it."""


@dataclass(frozen=True)
class Iterate:
    """Parameters, their table with its run on the training pairs, and its loss in nats."""

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

    iterations: int = 40
    patience: int = 3
    smallest_gain: float = 3e-3
    rows_per_parameter: float = 3.0
    damping: float = 1e-3
    factors: tuple[float, ...] = (1.0, 10.0, 0.1)


@dataclass
class GaussNewton:
    """A descent of one family to one objective on one set of pairs; ``cost`` is added to as evaluations are spent.

    seed: of the sketches, which are drawn anew at every iteration. derivative: how the network is differentiated.
    precision: in which the network computes, which sets the step of differences. rejected: trials so far whose states
    left the finite numbers.
    """

    family: Parametrisation
    objective: Objective
    pairs: Pairs
    cost: Cost
    seed: int = 0
    schedule: Schedule = Schedule()
    derivative: Derivative = "backward"
    precision: torch.dtype = torch.float32
    rejected: int = 0

    def __post_init__(self) -> None:
        self.weights = self.pairs.sample_weights()

    def step(self, iterate: Iterate, iteration: int, damping: float) -> tuple[Iterate, float]:
        """Return the next iterate and damping.

        The damping adapts by the measured loss: the best of a few multiples is kept; while none improves, it grows
        thirtyfold, and if it grows too large the iterate stays. A step that helps is doubled while that helps more, since
        Gauss-Newton falls short in the narrow valleys that an easy field has.
        """
        gradient, curvature = self.system(iterate, iteration)
        if not bool(gradient.isfinite().all() & curvature.isfinite().all()):
            return iterate, damping
        move = _damped_step(gradient, curvature, self.family.logarithms)
        tried = damping
        while tried < _LARGEST_DAMPING:
            trials = {
                factor * tried: self.evaluate(iterate.theta + move(factor * tried)) for factor in self.schedule.factors
            }
            kept = min(trials, key=lambda value: trials[value].loss)
            if trials[kept].loss < iterate.loss:
                return self._stretched(trials[kept], iterate.theta, move(kept)), max(kept, 1e-12)
            tried *= 30.0
        return iterate, damping

    def _stretched(self, best: Iterate, theta: Tensor, move: Tensor) -> Iterate:
        """Return the best of an iterate at theta + move and those at theta + 2 move, theta + 4 move, and so on."""
        while True:
            move = 2.0 * move
            trial = self.evaluate(theta + move)
            if not trial.loss < best.loss:
                return best
            best = trial

    def evaluate(self, theta: Tensor) -> Iterate:
        """Run the table of these parameters, its last row the least-squares one if family and objective allow it."""
        table, pairs = self.family.table(theta), self.pairs
        rollout = run(table, pairs.field, pairs.x0)
        self.cost.training += table.n * len(pairs)
        if not bool(torch.isfinite(rollout.basis).all()):
            self.rejected += 1
            return Iterate(theta, table, rollout, math.inf)
        plain = Iterate(theta, table, rollout, self._loss(table, rollout))
        if not self.objective.exact_end or not self.family.holds_last_row:
            return plain
        row = RowRegression(rollout.basis, pairs.x1.flatten(1), self.weights).solve(self.objective, 6, 1e-12)
        ended = rollout.with_end(torch.tensordot(row.to(rollout.end), rollout.basis, dims=1))
        solved = table.with_row(table.n - 1, row)
        better = Iterate(self.family.with_last_row(theta, row), solved, ended, self._loss(solved, ended))
        return better if better.loss < plain.loss else plain

    def system(self, iterate: Iterate, iteration: int) -> tuple[Tensor, Tensor]:
        """Return half the loss's gradient [p] and half the Gauss-Newton matrix [p, p] in the family's parameters."""
        if self.derivative == "backward":
            return self._backward_system(iterate, iteration)
        return self._forward_system(iterate)

    def _backward_system(self, iterate: Iterate, iteration: int) -> tuple[Tensor, Tensor]:
        table, rollout, pairs = iterate.table, iterate.rollout, self.pairs
        count = len(pairs)
        states, times = (seen.detach().requires_grad_() for seen in rollout.seen(table, self.objective.whole))
        residuals = self.objective.residuals(pairs, states, times)
        importance = self._importance(residuals.detach()).to(residuals)[:, None]
        jacobian = self.family.jacobian(iterate.theta)
        sketches = max(1, math.ceil(self.schedule.rows_per_parameter * jacobian.shape[1] / count))
        generator = torch.Generator().manual_seed(stream_seed(self.seed, "sketch", table.n, iteration))
        signs = torch.randint(0, 2, (sketches, *residuals.shape), generator=generator).to(residuals) * 2 - 1
        aims = torch.cat([(residuals.detach() * importance)[None], signs * importance.sqrt()])
        pulled = [_pull(residuals, states, times, aim) for aim in aims]
        rows = gradient_rows(table, pairs.field, pairs.x0, rollout, torch.stack([at_state for at_state, _ in pulled]))
        if self.objective.whole:
            # Where a state is compared moves with its time.
            rows[:, :, : table.n - 1] += torch.stack([at_time[:-1].T for _, at_time in pulled]).double().cpu()
        rows = rows @ jacobian
        self.cost.training += (table.n - 1) * count * (1 + 2 * len(aims))
        drawn = rows[1:].flatten(0, 1)
        return rows[0].sum(0) / residuals.shape[1], drawn.T @ drawn / (sketches * residuals.shape[1])

    def _forward_system(self, iterate: Iterate) -> tuple[Tensor, Tensor]:
        table, rollout = iterate.table, iterate.rollout
        jacobian = self.family.jacobian(iterate.theta)
        size = jacobian.shape[1]
        states, times = rollout.seen(table, self.objective.whole)
        importance = self._importance(self.objective.residuals(self.pairs, states, times))
        gradient = torch.zeros(size, dtype=torch.float64)
        curvature = torch.zeros(size, size, dtype=torch.float64)
        held = max(1, _TANGENT_NUMBERS // (2 * table.n * size * states.shape[2]))
        for start in range(0, len(self.pairs), held):
            part = slice(start, start + held)
            residuals, columns = self._columns(table, jacobian, rollout, part)
            weight = importance[part].to(residuals.device)[:, None]
            gradient += torch.einsum("pnm,nm->p", columns, weight * residuals).cpu()
            flat = (columns * weight.sqrt()).flatten(1)
            curvature += (flat @ flat.T).cpu()
        return gradient / residuals.shape[1], curvature / residuals.shape[1]

    def _columns(self, table: Table, jacobian: Tensor, rollout: Rollout, part: slice) -> tuple[Tensor, Tensor]:
        """Return residuals [N, m] of a part of the samples and their derivatives [p, N, m], in float64."""
        pairs, own = self.pairs.part(part), Rollout(rollout.basis[:, part], rollout.states[:, part])
        directional = forward_mode if self.derivative == "forward" else differences(self.precision)
        # In the entries of a table, fewer directions are alive at a time than in log-gaps, which move every time.
        entries = torch.eye(len(jacobian), dtype=jacobian.dtype)
        along = jacobian if jacobian.shape[1] < len(jacobian) else entries
        tangents, directions = state_tangents(table, along, pairs.field, pairs.x0, own, directional)
        self.cost.training += directions * len(pairs) * evaluations_per_direction(self.derivative, self.precision)
        states, times = own.seen(table, self.objective.whole)
        moments = torch.cat([along[: table.n - 1], along.new_zeros(1, along.shape[1])])[-len(states) :]
        residuals, columns = _push(
            lambda at, when: self.objective.residuals(pairs, at, when), states, times, tangents[-len(states) :], moments
        )
        columns = columns.double()
        return residuals.double(), columns if along is jacobian else torch.tensordot(jacobian.T.to(columns), columns, dims=1)

    def _importance(self, residuals: Tensor) -> Tensor:
        return self.objective.importance(residuals.double().square().mean(1).cpu(), self.weights)

    def _loss(self, table: Table, rollout: Rollout) -> float:
        with torch.no_grad():
            errors = self.objective.errors(self.pairs, *rollout.seen(table, self.objective.whole)).cpu()
        loss = float(self.objective.loss(errors, self.weights))
        return loss if math.isfinite(loss) else math.inf


def _pull(residuals: Tensor, states: Tensor, times: Tensor, aim: Tensor) -> tuple[Tensor, Tensor]:
    """Return the cotangents of states and times for those of the residuals."""
    at_state, at_time = torch.autograd.grad(residuals, (states, times), aim, retain_graph=True, allow_unused=True)
    return at_state, torch.zeros_like(times) if at_time is None else at_time


def _push(
    residuals: Callable[[Tensor, Tensor], Tensor], states: Tensor, times: Tensor, tangents: Tensor, moments: Tensor
) -> tuple[Tensor, Tensor]:
    """Return residuals [N, m] and their derivatives [p, N, m] along tangents [., p, N, d] of states and [., p] of times.

    By differentiating the pull-back, which is linear in the cotangent: torch's forward mode crashes on some extractors.
    """
    states, times = states.detach().requires_grad_(), times.detach().clone().requires_grad_()
    found = residuals(states, times)
    aim = torch.zeros_like(found, requires_grad=True)
    pulled = torch.autograd.grad(found, (states, times), aim, create_graph=True, allow_unused=True)
    columns = []
    for k in range(tangents.shape[1]):
        along = (tangents[:, k].to(states), moments[:, k, None].to(times).expand_as(times))
        terms = [(value * direction).sum() for value, direction in zip(pulled, along, strict=True) if value is not None]
        (column,) = torch.autograd.grad(torch.stack([term.double() for term in terms]).sum(), aim, retain_graph=True)
        columns.append(column)
    return found.detach(), torch.stack(columns)


def _damped_step(gradient: Tensor, curvature: Tensor, logarithms: int) -> Callable[[float], Tensor]:
    """Return lambda -> -(H + lambda diag H)^-1 g, the steps of the first parameters, which are ``logarithms``, bounded."""
    effect = curvature.diagonal().sqrt()
    scale = torch.where(effect > _LEAST_EFFECT * effect.norm(), effect, torch.inf)
    values, vectors = torch.linalg.eigh(curvature / scale / scale[:, None])
    projected = vectors.T @ (gradient / scale)

    def step(damping: float) -> Tensor:
        move: Tensor = -(vectors @ (projected / (values.clamp_min(0.0) + damping))) / scale
        move[:logarithms] = move[:logarithms].clamp(-_LARGEST_LOG_STEP, _LARGEST_LOG_STEP)
        return move

    return step
