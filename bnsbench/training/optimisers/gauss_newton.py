"""Sketched Gauss-Newton on any family and objective, with the last row solved exactly where it has a closed form.

With residuals r_s [m], weights W_s = d loss / d e_s and the Jacobian J_s = d r_s / d theta, the gradient is
(2 / m) sum_s W_s J_s^T r_s and the Gauss-Newton matrix (2 / m) sum_s W_s J_s^T J_s (both are used without their 2). Going
backwards, the matrix is estimated from random cotangents sqrt(W_s) z_s, z_s = +-1, since E[z z^T] = I: one sweep gives rows
for every sample, so n (1 + 2 K) N evaluations buy gradient and matrix. Going forwards, both are exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from bnsbench.nonstationary.table import NonStationarySolver
from bnsbench.training.families.parametrisation import Parametrisation
from bnsbench.training.objectives import Objective
from bnsbench.training.optimisers.derivative_choice import back_evaluations, recomputing
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

EXCESS_DAMPING = 1e-6
"""Directions with less effect, of parameters of unit effect, are not known from a sketch."""
LARGEST_LOG_STEP = 2.0
"""A step changes no logarithm, of a gap of times, say, by more than this."""
LARGEST_DAMPING = 1e6
"""Steps damped more than this are a millionth of a gradient step, each parameter scaled by its effect."""
LEAST_DAMPING = 1e-12
DAMPING_GROWTH = 10.0
"""By which the damping grows while no step helps, and for a second trial where one helps little."""
POOR, GOOD = 0.25, 0.75
"""Parts of the foretold gain: below the first the damping is too small, above the second it may fall."""
POOR_FACTOR, GOOD_FACTOR = 4.0, 0.2
"""By which the damping is multiplied after such steps."""
LEAST_EFFECT = 1e-6
"""A parameter whose effect is smaller than this part of all effects is lost in rounding, and stays."""
ONE_BY_ONE = 4
"""Residuals of a sample up to which none is sketched."""
LAST_ROW_PASSES, LAST_ROW_RIDGE = 6, 1e-12
"""Of the regression that gives the last row of every table that is tried."""


@dataclass(frozen=True)
class Iterate:
    """Parameters, their table with its run on pairs, every sample's error [N], and the loss in nats."""

    theta: Tensor
    table: NonStationarySolver
    rollout: Rollout
    errors: Tensor
    loss: float


@dataclass(frozen=True)
class _Trial:
    """A step that was taken under a damping: where it led, its gain in nats, and the gain that the model foretold."""

    damping: float
    step: Tensor
    found: Iterate
    gain: float
    foretold: float

    @property
    def quality(self) -> float:
        """The gain as a part of the foretold one, which is positive."""
        return self.gain / self.foretold if self.foretold > 0 else math.inf

    @property
    def next_damping(self) -> float:
        """The damping of the step that follows this one."""
        factor = POOR_FACTOR if self.quality < POOR else GOOD_FACTOR if self.quality > GOOD else 1.0
        return max(factor * self.damping, LEAST_DAMPING)


@dataclass
class GaussNewton:
    """Steps of one family towards the least loss of one objective on one set of pairs.

    Args:
        family: what the table has to choose.
        objective: whose loss is lowered.
        pairs: to train on.
        cost: added to as evaluations are spent.
        seed: of the sketches, which are drawn anew at every iteration.
        derivative: how the network is differentiated.
        precision: in which the network computes, which sets the step of differences.
        checkpointed: whether it computes activations once more on the way back, to hold fewer.
        rows_per_parameter: rows of the sketched Jacobian, which set the number of sketches for a number of pairs.
        numbers_held: how many numbers of tangents are held at once; the samples are taken in parts that keep to it.
        floor: of the objective (see `bnsbench.training.objectives`), an error.
        rejected: trials so far whose states left the finite numbers.
        excess: nats that the present parameters lose because there are no more pairs, by the last system; see `_excess`.
        affords: whether so many evaluations may still be spent, beyond those of a step's first trials; any number of them if
            nothing else is said.
    """

    family: Parametrisation
    objective: Objective
    pairs: Pairs
    cost: Cost
    seed: int = 0
    derivative: Derivative = "backward"
    precision: torch.dtype = torch.float32
    checkpointed: bool = False
    rows_per_parameter: float = 2.0
    numbers_held: int = 2**25
    floor: float = 0.0
    rejected: int = 0
    excess: float = math.inf
    affords: Callable[[float], bool] = math.isfinite

    def __post_init__(self) -> None:
        self.weights = self.pairs.sample_weights()

    def step(self, iterate: Iterate, iteration: int, damping: float) -> tuple[Iterate, float]:
        """Return the next iterate and damping.

        As of Levenberg and Marquardt, by how the measured gain compares with the foretold one (Nocedal & Wright 2006,
        Section 10.3): a step that gains a small part of it is tried once more under a larger damping, one that gains most
        of it lowers the damping of the next step, and none is accepted that gains nothing; if the damping grows too large
        the iterate stays. A step that gains more than was foretold is doubled while that helps yet more, since
        Gauss-Newton falls short in the narrow valleys that an easy field has.
        """
        # The sketched normal equations,
        gradient, curvature = self.system(iterate, iteration)
        if not bool(gradient.isfinite().all() & curvature.isfinite().all()):
            return iterate, damping
        move = damped_steps(gradient, curvature, self.family.logarithms)
        tried, each = damping, iterate.table.nfe * len(self.pairs)

        def trial(damping: float) -> _Trial:
            """Take the step under a damping, of which the model of the loss foretells -(2 g.step + step.H.step)."""
            step = move(damping)
            found, foretold = self.evaluate(iterate.theta + step), -float(2 * gradient @ step + step @ curvature @ step)
            return _Trial(damping, step, found, iterate.loss - found.loss, foretold)

        while tried < LARGEST_DAMPING and (tried == damping or self.affords(each)):
            # solved under a damping, and under a larger one if that gains little;
            best = trial(tried)
            if best.gain > 0 and best.quality < POOR and self.affords(each):
                best = max(best, trial(DAMPING_GROWTH * tried), key=lambda taken: taken.gain)
            # a step is accepted only if it lowers the loss, and if it lowers it by more than was foretold, it falls short
            # of the valley's end.
            if best.gain > 0:
                if best.quality <= 1:
                    return best.found, best.next_damping
                found = lengthen(self.evaluate, best.found, iterate.theta, best.step, lambda: self.affords(each))
                return found, best.next_damping
            tried *= DAMPING_GROWTH
        return iterate, damping

    def under(self, floor: float, iterate: Iterate) -> Iterate:
        """Return the iterate as it is under another floor, which is taken from here on; its last row may be another."""
        self.floor = floor
        return self._with_last_row(self._iterate(iterate.theta, iterate.table, iterate.rollout))

    def evaluate(self, theta: Tensor) -> Iterate:
        """Run the table of these parameters, its last row the least-squares one if family and objective allow it."""
        table, pairs = self.family.table(theta), self.pairs
        rollout = run(table, pairs.field, pairs.x0)
        self.cost.training += table.nfe * len(pairs)
        if not bool(torch.isfinite(rollout.basis).all()):
            self.rejected += 1
            nothing = torch.full((len(pairs),), torch.inf, dtype=torch.float64)
            return Iterate(theta, table, rollout, nothing, math.inf)
        return self._with_last_row(self._iterate(theta, table, rollout))

    def present(self, theta: Tensor) -> Iterate:
        """Return the iterate of parameters that have been tried before, as they are: nothing is solved for or counted."""
        table = self.family.table(theta)
        return self._iterate(theta, table, run(table, self.pairs.field, self.pairs.x0))

    def _iterate(self, theta: Tensor, table: NonStationarySolver, rollout: Rollout) -> Iterate:
        with torch.no_grad():
            errors = self.objective.errors(self.pairs, *rollout.compared(table, self.objective.whole)).cpu()
        loss = float(self.objective.loss(errors, self.weights, self.floor))
        return Iterate(theta, table, rollout, errors, loss if math.isfinite(loss) else math.inf)

    def _with_last_row(self, plain: Iterate) -> Iterate:
        """Return the better one of the iterate and that with the best last row."""
        if not self.objective.exact_end or not self.family.holds_last_row:
            return plain
        # No evaluation comes after the last row, so that its best value costs none.
        table, rollout = plain.table, plain.rollout
        regression = RowRegression(rollout.basis, self.pairs.x1.flatten(1), self.weights)
        row = regression.solve(self.objective, LAST_ROW_PASSES, LAST_ROW_RIDGE, self.floor)
        solved = table.with_row(table.nfe - 1, row)
        moved = rollout.with_end(torch.tensordot(row.to(rollout.end), rollout.basis, dims=1))
        better = self._iterate(self.family.with_last_row(plain.theta, row), solved, moved)
        return better if better.loss < plain.loss else plain

    def system(self, iterate: Iterate, iteration: int) -> tuple[Tensor, Tensor]:
        """Return half the loss's gradient [p] and half the Gauss-Newton matrix [p, p] in the family's parameters."""
        if self.derivative == "backward":
            return self._sketched_system(iterate, iteration)
        return self._exact_system(iterate)

    def _sketched_system(self, iterate: Iterate, iteration: int) -> tuple[Tensor, Tensor]:
        """Return the exact gradient and an estimate of the matrix, from one sweep backwards through the table."""
        table, rollout, pairs = iterate.table, iterate.rollout, self.pairs
        jacobian = self.family.jacobian(iterate.theta)
        # Cotangents of the residuals: W r, whose pull-back is the gradient, and the sketches sqrt(W) z. They go back
        # through the objective to the states that it compares, and their times; W is of the samples, so that it may follow,
        residuals, of_states, of_times = self._through_objective(rollout, table, jacobian.shape[1], iteration)
        importance = self._importance(residuals).to(residuals)
        weights = torch.cat([importance[None], importance.sqrt().expand(len(of_states) - 1, -1)])[:, None]
        state_cotangents, time_cotangents = of_states * weights[..., None], of_times * weights
        # through the table to its entries, for each sample by itself,
        with recomputing(pairs.field.model) if self.checkpointed else nullcontext():
            rows = gradient_rows(table, pairs.field, pairs.x0, rollout, state_cotangents)
        if self.objective.whole:
            # Where a state is compared moves with its time.
            rows[:, :, : table.nfe - 1] += time_cotangents[:, :-1].mT.double().cpu()
        # and through the family to its parameters.
        rows = rows @ jacobian
        self.cost.training += (table.nfe - 1) * len(pairs) * (1 + back_evaluations(self.checkpointed) * len(rows))
        sketch = rows[1:].flatten(0, 1)
        curvature = sketch.T @ sketch / ((len(rows) - 1) * residuals.shape[1])
        self.excess = _excess(rows[0] / residuals.shape[1], curvature, self.weights)
        return rows[0].sum(0) / residuals.shape[1], curvature

    def _through_objective(
        self, rollout: Rollout, table: NonStationarySolver, parameters: int, iteration: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the residuals r [N, m], and r and the sketches z pulled back to states [c, k, N, d] and times [c, k, N].

        k: states that the objective compares. c: one, and the sketches.
        """
        states, times = rollout.compared(table, self.objective.whole)

        def back(part: slice) -> tuple[Tensor, Tensor, Tensor]:
            own, when = (value[:, part].detach().requires_grad_() for value in (states, times))
            residuals = self.objective.residuals(self.pairs.part(part), own, when)
            signs = self._random_signs(parameters, residuals.detach(), part, table.nfe, iteration)
            cotangents = torch.cat([residuals.detach()[None], signs])
            products = [_vector_jacobian_product(residuals, own, when, cotangent) for cotangent in cotangents]
            of_states, of_times = zip(*products, strict=True)
            return residuals.detach(), torch.stack(of_states), torch.stack(of_times)

        residuals, of_states, of_times = zip(*self.objective.parts.each("gradients", len(self.pairs), back), strict=True)
        return torch.cat(residuals), torch.cat(of_states, 2), torch.cat(of_times, 2)

    def _random_signs(self, parameters: int, residuals: Tensor, part: slice, nfe: int, iteration: int) -> Tensor:
        """Return z = +-1 [sketches, N, m] for the residuals of a part, so many sketches that their rows suffice.

        Where there are hardly more residuals than sketches, the residuals one by one: then the matrix is exact.
        """
        count, size = len(self.pairs), residuals.shape[1]
        sketches = max(1, math.ceil(self.rows_per_parameter * parameters / count))
        if size <= max(sketches, ONE_BY_ONE):
            each = math.sqrt(size) * torch.eye(size)  # since the matrix is the mean over sketches
            return each.to(residuals)[:, None, :].expand(-1, len(residuals), -1)
        generator = torch.Generator().manual_seed(stream_seed(self.seed, "sketch", nfe, iteration))
        return torch.randint(0, 2, (sketches, count, size), generator=generator)[:, part].to(residuals) * 2 - 1

    def _exact_system(self, iterate: Iterate) -> tuple[Tensor, Tensor]:
        """Return the exact gradient and matrix, from the residuals' derivatives in every parameter."""
        table, rollout = iterate.table, iterate.rollout
        jacobian = self.family.jacobian(iterate.theta)
        size = jacobian.shape[1]
        states, times = rollout.compared(table, self.objective.whole)
        importance = self._importance(self.objective.residuals(self.pairs, states, times))
        gradients = torch.zeros(len(self.pairs), size, dtype=torch.float64)
        curvature = torch.zeros(size, size, dtype=torch.float64)
        held = max(1, self.numbers_held // (2 * table.nfe * size * states.shape[2]))
        for start in range(0, len(self.pairs), held):
            part = slice(start, start + held)
            residuals, derivatives = self._residual_derivatives(table, jacobian, rollout, part)
            weight = importance[part].to(residuals.device)[:, None]
            gradients[part] = torch.einsum("pnm,nm->np", derivatives, weight * residuals).cpu()
            root = (derivatives * weight.sqrt()).flatten(1)
            curvature += (root @ root.T).cpu()
        gradients, curvature = gradients / residuals.shape[1], curvature / residuals.shape[1]
        self.excess = _excess(gradients, curvature, self.weights)
        return gradients.sum(0), curvature

    def _residual_derivatives(
        self, table: NonStationarySolver, jacobian: Tensor, rollout: Rollout, part: slice
    ) -> tuple[Tensor, Tensor]:
        """Return residuals [N, m] of a part of the samples and their derivatives [p, N, m], in float64."""
        pairs, own = self.pairs.part(part), rollout.part(part)
        directional = forward_mode if self.derivative == "forward" else differences(self.precision)
        # In the entries of a table, fewer directions are alive at a time than in log-gaps, which move every time.
        in_parameters = jacobian.shape[1] < len(jacobian)
        directions = jacobian if in_parameters else torch.eye(len(jacobian), dtype=jacobian.dtype)
        reach = table.nfe if self.objective.whole else 1
        tangents, spent = state_tangents(table, directions, pairs.field, pairs.x0, own, directional, reach)
        self.cost.training += spent * len(pairs) * evaluations_per_direction(self.derivative, self.precision)
        states, times = own.compared(table, self.objective.whole)
        # How the times move at which states are compared; the last one stays.
        time_tangents = torch.cat([directions[: table.nfe - 1], directions.new_zeros(1, directions.shape[1])])

        def through_objective(few: slice) -> tuple[Tensor, Tensor]:
            some = pairs.part(few)
            return _jacobian_vector_products(
                lambda at, when: self.objective.residuals(some, at, when),
                states[:, few],
                times[:, few],
                tangents[:, :, few],
                time_tangents[-len(states) :],
            )

        found = self.objective.parts.each("gradients", len(pairs), through_objective)
        residuals = torch.cat([each for each, _ in found])
        derivatives = torch.cat([each for _, each in found], dim=1).double()
        if not in_parameters:
            derivatives = torch.tensordot(jacobian.T.to(derivatives), derivatives, dims=1)
        return residuals.double(), derivatives

    def _importance(self, residuals: Tensor) -> Tensor:
        """Return W_s = d loss / d e_s [N]."""
        return self.objective.importance(residuals.double().square().mean(1).cpu(), self.weights, self.floor)


def _excess(gradients: Tensor, curvature: Tensor, weights: Tensor) -> float:
    """Return the nats that parameters fitted to N samples are expected to lose on others: tr(H^-1 V) / 2 N.

    V is the scatter of the samples' own gradients: where they pull in different directions, other samples would have led
    elsewhere (Takeuchi's criterion). Meant for parameters near their optimum.

    Args:
        gradients: Half of each sample's gradient [N, p], times its weight.
        curvature: Half the matrix H [p, p].
        weights: Of the samples [N], summing to one.

    Returns:
        inf where gradients or matrix are not finite.
    """
    if not bool(gradients.isfinite().all() & curvature.isfinite().all()):
        return math.inf
    effect = curvature.diagonal().sqrt()
    scale = torch.where(effect > LEAST_EFFECT * effect.norm(), effect, torch.inf)
    each = gradients / weights[:, None] / scale
    values, vectors = torch.linalg.eigh(curvature / scale / scale[:, None])
    along = ((each @ vectors).square() * weights[:, None]).sum(0)
    return float((along / values.clamp_min(EXCESS_DAMPING)).sum() * weights.square().sum())


def _vector_jacobian_product(residuals: Tensor, states: Tensor, times: Tensor, cotangent: Tensor) -> tuple[Tensor, Tensor]:
    """Return the cotangents of states and times for one of the residuals."""
    of_states, of_times = torch.autograd.grad(residuals, (states, times), cotangent, retain_graph=True, allow_unused=True)
    return of_states, torch.zeros_like(times) if of_times is None else of_times


def _jacobian_vector_products(
    residuals: Callable[[Tensor, Tensor], Tensor],
    states: Tensor,
    times: Tensor,
    d_states: Tensor,
    d_times: Tensor,
) -> tuple[Tensor, Tensor]:
    """Return residuals [N, m] and their derivatives [p, N, m] along d_states [., p, N, d] and d_times [., p].

    By double backward: the vector-Jacobian product v^T J is linear in v, and its derivative in v along a tangent is the
    Jacobian-vector product. Torch's forward mode crashes on some extractors.
    """
    states, times = states.detach().requires_grad_(), times.detach().clone().requires_grad_()
    found = residuals(states, times)
    cotangent = torch.zeros_like(found, requires_grad=True)
    products = torch.autograd.grad(found, (states, times), cotangent, create_graph=True, allow_unused=True)
    derivatives = []
    for k in range(d_states.shape[1]):
        tangents = (d_states[:, k].to(states), d_times[:, k, None].to(times).expand_as(times))
        terms = [(value * tangent).sum() for value, tangent in zip(products, tangents, strict=True) if value is not None]
        total = torch.stack([term.double() for term in terms]).sum()
        (derivative,) = torch.autograd.grad(total, cotangent, retain_graph=True)
        derivatives.append(derivative)
    return found.detach(), torch.stack(derivatives)


def damped_steps(gradient: Tensor, curvature: Tensor, logarithms: int) -> Callable[[float], Tensor]:
    """Return lambda -> -(H + lambda diag H)^-1 g, the steps of the first parameters, which are ``logarithms``, bounded."""
    # Scaled to a unit diagonal, the damped matrix has one eigenbasis whatever lambda is.
    effect = curvature.diagonal().sqrt()
    scale = torch.where(effect > LEAST_EFFECT * effect.norm(), effect, torch.inf)
    values, vectors = torch.linalg.eigh(curvature / scale / scale[:, None])
    projected = vectors.T @ (gradient / scale)

    def step(damping: float) -> Tensor:
        move: Tensor = -(vectors @ (projected / (values.clamp_min(0.0) + damping))) / scale
        move[:logarithms] = move[:logarithms].clamp(-LARGEST_LOG_STEP, LARGEST_LOG_STEP)
        return move

    return step


def lengthen(
    evaluate: Callable[[Tensor], Iterate],
    best: Iterate,
    theta: Tensor,
    move: Tensor,
    goes_on: Callable[[], bool] = lambda: True,
) -> Iterate:
    """Return the best of ``best``, at theta + move, and of theta + 2 move, theta + 4 move, and so on while they improve.

    goes_on: whether another one may be tried.
    """
    while goes_on():
        move = 2.0 * move
        trial = evaluate(theta + move)
        if not trial.loss < best.loss:
            break
        best = trial
    return best
