"""Steps that make samples look like the truth: the Frechet distance of features and the fidelity, lowered together.

A step holds network and extractor linear in the table's numbers, with derivatives from differences, so that neither needs
to be differentiable: end states are x + J z, features phi + T z. The loss, which is far from linear in them, is kept as it
is and minimised over z, which costs no evaluation. How far end states move is charged, in units of their error at
present, and the charge rises until the network's own samples are better.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from bnsbench.flows.fields import restricted
from bnsbench.process.parts import Parts
from bnsbench.training.families.parametrisation import Parametrisation
from bnsbench.training.moments import FrechetDistance
from bnsbench.training.objectives import LOG_MSE
from bnsbench.training.optimisers.forward_derivatives import differences, evaluations_per_direction, state_tangents
from bnsbench.training.optimisers.rollout import Rollout, run
from bnsbench.training.problem import Cost, Features
from bnsbench.truth.pairs import Pairs

TRIALS, GROWTH = 4, 10.0
"""How often a step is tried, and by what the charge grows in between."""
POOR, GOOD, POOR_FACTOR, GOOD_FACTOR = 0.25, 0.75, 4.0, 0.3
"""A step that gains less than the first part of what was foretold has the next one charged more, above the second less."""
NUDGE = 0.1
"""The difference by which features are differentiated, in units of the end states' error: about as long as a step."""
NO_EFFECT = 1e-9
"""Directions with less than this part of the largest effect are lost in rounding, and stay."""
SMALLEST_DISTANCE = 1e-12
"""Frechet distances below this are rounding."""
LOOKS = 80
"""At the linear model's loss in one trial."""
NUMBERS_HELD = 2**26
"""Numbers of tangents that are held at once; the samples are taken in parts that keep to it."""


@dataclass(frozen=True)
class View:
    """What the loss sees of end states: their features [N, k] and squared errors [N], both in float64."""

    features: Tensor
    errors: Tensor

    @property
    def finite(self) -> bool:
        return bool(self.features.isfinite().all() & self.errors.isfinite().all())


@dataclass(frozen=True)
class Likeness:
    """The loss log F + sum_s w_s log(e_s + f) of end states on pairs, F their Frechet distance to the truth.

    Args:
        pairs: of noise and truth.
        features: of end states; they need not be differentiable.
        parts: how many samples the extractor takes at once.
        distance: to the features of the truth.
        floor: f, an error.
    """

    pairs: Pairs
    features: Features
    parts: Parts
    distance: FrechetDistance
    floor: float

    @classmethod
    def of(cls, pairs: Pairs, features: Features, parts: Parts, floor: float = 0.0) -> Likeness:
        """Return the loss on pairs, for which the features of the truth are extracted."""
        return cls(pairs, features, parts, FrechetDistance(_extracted(pairs.x1, pairs, features, parts)), floor)

    def view(self, end: Tensor) -> View:
        """Return what the loss sees of end states [N, d]."""
        return View(
            _extracted(end, self.pairs, self.features, self.parts), (end - self.truth).double().square().mean(1).cpu()
        )

    def frechet(self, view: View) -> float:
        """Return the Frechet distance; inf where something is not finite."""
        return float(self.distance(view.features)) if view.finite else math.inf

    def loss(self, view: View) -> Tensor:
        """Return the loss in nats (0-d), differentiable in the view; inf where something is not finite."""
        if not view.finite:
            return torch.tensor(math.inf, dtype=torch.float64)
        distance = self.distance(view.features).clamp_min(SMALLEST_DISTANCE)
        return distance.log() + LOG_MSE.loss(view.errors, self.pairs.sample_weights(), self.floor)

    @cached_property
    def truth(self) -> Tensor:
        """The true end states [N, d]."""
        return self.pairs.x1.flatten(1)


def _extracted(states: Tensor, pairs: Pairs, features: Features, parts: Parts) -> Tensor:
    """Return the features [N, k] of end states of pairs, in float64 on the CPU."""
    like = pairs.x1

    def extract(part: slice) -> Tensor:
        return features(states[part].reshape(-1, *like.shape[1:]).to(like.dtype)).flatten(1)

    with torch.no_grad():
        return torch.cat(parts.each("values", len(states), extract)).double().cpu()


@dataclass(frozen=True)
class LikenessStep:
    """Where a step has led: parameters [p], the charge of the next step, and the nats by which the loss has fallen."""

    theta: Tensor
    charge: float
    gain: float


@dataclass(frozen=True)
class LikenessSteps:
    """Steps of a family towards the least loss.

    Args:
        family: what the table has to choose.
        likeness: the loss, on the pairs to train on.
        cost: added to as evaluations are spent.
    """

    family: Parametrisation
    likeness: Likeness
    cost: Cost

    def step(self, theta: Tensor, charge: float) -> LikenessStep:
        """Return the next parameters; the same ones, with no gain, if none that are tried have a lower loss.

        charge: nats for moving the end states by as much as their error is.
        """
        likeness = self.likeness
        rollout = self._run(theta)
        here = likeness.view(rollout.end)
        before = float(likeness.loss(here))
        moves = self.tangents(theta, rollout)
        if not bool(moves.isfinite().all()):
            return LikenessStep(theta, charge, 0.0)
        directions, moves = _scaled(moves, here)
        model = _Linear.of(likeness, rollout.end, here, moves)
        for _ in range(TRIALS):
            z = model.least(charge)
            there = theta + directions @ z
            found = float(likeness.loss(likeness.view(self._run(there).end)))
            gain, foretold = before - found, before - float(likeness.loss(model.view(z)))
            if gain > 0:
                poor, good = gain < POOR * foretold, gain > GOOD * foretold
                return LikenessStep(there, charge * (POOR_FACTOR if poor else GOOD_FACTOR if good else 1.0), gain)
            charge *= GROWTH
        return LikenessStep(theta, charge, 0.0)

    def _run(self, theta: Tensor) -> Rollout:
        pairs, table = self.likeness.pairs, self.family.table(theta)
        self.cost.training += table.nfe * len(pairs)
        return run(table, pairs.field, pairs.x0)

    def tangents(self, theta: Tensor, rollout: Rollout) -> Tensor:
        """Return how the end states move with the parameters, [p, N, d], from differences of evaluations."""
        pairs, table = self.likeness.pairs, self.family.table(theta)
        jacobian, precision = self.family.jacobian(theta), pairs.field.model.dtype
        # In the entries of a table, fewer directions are alive at a time than in log-gaps, which move every time.
        entries = torch.eye(len(jacobian), dtype=jacobian.dtype)
        held = max(1, NUMBERS_HELD // (2 * table.nfe * len(jacobian) * rollout.end.shape[1]))
        found = []
        for start in range(0, len(pairs), held):
            part = slice(start, min(start + held, len(pairs)))
            own, field = rollout.part(part), restricted(pairs.field, part, len(pairs))
            moves, spent = state_tangents(table, entries, field, pairs.x0[part], own, differences(precision), 1)
            found.append(torch.tensordot(jacobian.T.to(moves), moves[-1], dims=1))
            self.cost.training += spent * (part.stop - part.start) * evaluations_per_direction("difference", precision)
        return torch.cat(found, dim=1)


@dataclass(frozen=True)
class _Linear:
    """What the loss sees where end states and features move linearly with z [k].

    Args:
        likeness: the loss.
        here: the view at z = 0.
        features: by which features move, [k, N, width].
        slopes: by which squared errors move, [N, k].
        curvatures: and by z z^T, [N, k, k].
    """

    likeness: Likeness
    here: View
    features: Tensor
    slopes: Tensor
    curvatures: Tensor

    @classmethod
    def of(cls, likeness: Likeness, end: Tensor, here: View, moves: Tensor) -> _Linear:
        """Return the model around end states [N, d] that move by ``moves`` [k, N, d]."""
        features = [(likeness.view(end + NUDGE * move).features - here.features) / NUDGE for move in moves]
        off, size = (end - likeness.truth).to(moves), end.shape[1]
        slopes = 2.0 * torch.einsum("knd,nd->nk", moves, off) / size
        curvatures = torch.einsum("knd,lnd->nkl", moves, moves) / size
        return cls(likeness, here, torch.stack(features), slopes.double().cpu(), curvatures.double().cpu())

    def view(self, z: Tensor) -> View:
        """Return what the loss sees after a step z."""
        errors = self.here.errors + self.slopes @ z + torch.einsum("nkl,k,l->n", self.curvatures, z, z)
        return View(self.here.features + torch.tensordot(z, self.features, dims=1), errors.clamp_min(0.0))

    def least(self, charge: float) -> Tensor:
        """Return the z with the least loss, ``charge`` |z|^2 added."""
        z = torch.zeros(len(self.features), dtype=torch.float64, requires_grad=True)
        solver = torch.optim.LBFGS([z], max_iter=LOOKS, max_eval=LOOKS, line_search_fn="strong_wolfe")

        def charged() -> Tensor:
            solver.zero_grad()
            loss = self.likeness.loss(self.view(z)) + charge * z.square().sum()
            torch.autograd.backward(loss, inputs=[z])
            return loss

        solver.step(charged)  # type: ignore[no-untyped-call]
        return z.detach()


def _scaled(moves: Tensor, here: View) -> tuple[Tensor, Tensor]:
    """Return directions of the parameters [p, k] and how end states move along them, [k, N, d].

    A step z along them moves the end states by |z| times their root mean square error, whatever it is made of.

    Args:
        moves: how end states move with the parameters, [p, N, d].
        here: the view of the end states.
    """
    flat = moves.flatten(1).double()
    values, vectors = torch.linalg.eigh((flat @ flat.T / flat.shape[1]).cpu() / here.errors.mean())
    kept = values > NO_EFFECT * values.max()
    directions = vectors[:, kept] / values[kept].sqrt()
    return directions, torch.tensordot(directions.T.to(moves), moves, dims=1)


def directions_of(nfe: int, columns: int = 1) -> int:
    """Return how many directional derivatives of evaluations the tangents of a free table take, per sample."""
    rows_before = [sum(1 + columns * (row + 1) for row in range(i)) for i in range(nfe)]
    return sum(i + rows for i, rows in enumerate(rows_before) if i)


def step_cost(nfe: int, columns: int, pairs: int, forwards_each: int, derivative: int = 1) -> float:
    """Return what a step costs at most in evaluations, with the extractor's forwards and the look at as many other pairs.

    Args:
        nfe: of the table.
        columns: of the table.
        pairs: that it is taken on.
        forwards_each: forwards of an evaluation.
        derivative: evaluations of a directional derivative.
    """
    numbers = 2 * nfe - 1 + nfe * (nfe + 1) if columns == 2 else nfe * (nfe + 5) // 2 - 1
    evaluations = derivative * directions_of(nfe, columns) + (1 + TRIALS + 1) * nfe
    extracted = 1 + numbers + TRIALS + 1
    return pairs * (evaluations + extracted / forwards_each)
