"""The soft teacher: a student may start from noise a little off the teacher's (LD3, arXiv 2405.15506, Section 4.2)."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from bnsbench.training.families.table import Table
from bnsbench.training.objectives import Objective
from bnsbench.training.optimisers.rollout import differentiable_states
from bnsbench.truth.pairs import Pairs

EVALUATIONS = 3
"""Evaluations per sample and step of the table that one relaxation costs, the backward pass included."""


def relaxed(table: Table, objective: Objective, pairs: Pairs, noise: Tensor, radius: float) -> Pairs:
    """Return the pairs with their noise moved one step towards what the student maps to the truth.

    noise: the teacher's [N, ...], from which no sample gets further than ``radius``. The step along the gradient of the
    sample's error e is Polyak's, e / |grad|^2, which is exact for errors that fall linearly to zero.
    """
    x0 = pairs.x0.detach().requires_grad_()
    states = differentiable_states(table, pairs.field, x0)
    if not objective.whole:
        states = states[-1:]
    times = table.times[-len(states) :].to(x0.device)[:, None].expand(-1, len(pairs))
    errors = objective.errors(pairs, states, times)
    (gradient,) = torch.autograd.grad(errors.sum(), x0)
    slope = gradient.flatten(1).double().square().sum(1).clamp_min(1e-300)
    step = (errors.detach() / slope).to(gradient).reshape(-1, *(1,) * (x0.ndim - 1))
    moved = (x0.detach() - step * gradient - noise).nan_to_num()
    length = moved.flatten(1).norm(dim=1).clamp_min(1e-30).reshape(step.shape)
    return replace(pairs, x0=noise + moved * (radius / length).clamp_max(1.0))
