"""The soft teacher: a student may start from noise a little off the teacher's (LD3, arXiv 2405.15506, Section 4.2)."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from bnsbench.flows.fields import parts_of
from bnsbench.nonstationary.table import NonStationarySolver
from bnsbench.training.objectives import Objective
from bnsbench.training.optimisers.rollout import differentiable_states
from bnsbench.truth.pairs import Pairs

EVALUATIONS = 3
"""Evaluations per sample and step of the table that moving the noise once costs, the backward pass included."""


def soft_radius(dim: int, nfe: int) -> float:
    """Return how far the noise of d = ``dim`` numbers may be moved, r = 0.001 d / NFE^2 (LD3, arXiv 2405.15506).

    As a distance, not its square, and never more than a tenth of the noise's own length sqrt(d).
    """
    return min(0.001 * dim / nfe**2, 0.1 * math.sqrt(dim))


def soften(table: NonStationarySolver, objective: Objective, pairs: Pairs, noise: Tensor, radius: float) -> Pairs:
    """Return the pairs with their noise moved one step towards what the student maps to the truth.

    The step along the gradient of the sample's error e is Polyak's, e / |grad|^2, which is exact for errors that fall
    linearly to zero.

    Args:
        table: the student.
        objective: whose error is lowered.
        pairs: with the noise as it has been moved so far.
        noise: the teacher's [N, ...].
        radius: no sample gets further than that from the teacher's noise.
    """
    # The gradient of every sample's error in its own noise.
    everything = slice(0, len(pairs))
    found = parts_of(pairs.field).each(
        "runs", len(pairs), lambda part: _slopes(table, objective, pairs if part == everything else pairs.part(part))
    )
    errors, gradient = (torch.cat(each) for each in zip(*found, strict=True))
    # Polyak's step, then back into the ball around the teacher's noise.
    slope = gradient.flatten(1).double().square().sum(1).clamp_min(1e-300)
    step = (errors / slope).to(gradient).reshape(-1, *(1,) * (noise.ndim - 1))
    moved = (pairs.x0.detach() - step * gradient - noise).nan_to_num()
    length = moved.flatten(1).norm(dim=1).clamp_min(1e-30).reshape(step.shape)
    return replace(pairs, x0=noise + moved * (radius / length).clamp_max(1.0))


def _slopes(table: NonStationarySolver, objective: Objective, pairs: Pairs) -> tuple[Tensor, Tensor]:
    """Return every sample's error [N] and its gradient in the sample's noise [N, ...]."""
    x0 = pairs.x0.detach().requires_grad_()
    states = differentiable_states(table, pairs.field, x0)
    if not objective.whole:
        states = states[-1:]
    times = table.times[-len(states) :].to(x0.device)[:, None].expand(-1, len(pairs))
    errors = objective.errors(pairs, states, times)
    (gradient,) = torch.autograd.grad(errors.sum(), x0)
    return errors.detach(), gradient
