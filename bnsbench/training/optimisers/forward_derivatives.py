"""Derivatives without backpropagation: how every state of a table moves with its parameters, forwards.

For networks whose backward pass does not fit in memory, or whose kernels have none. The tangent of x_{i+1} is
sum_j (d b_ij) u_j + b_ij (d u_j) with d u_j = (du/dx) d x_j + (du/dt) d t_j, a directional derivative of the network:
exact by forward-mode differentiation, or from differences of evaluations.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.autograd import forward_ad

from bnsbench.flows.fields import BatchField
from bnsbench.training.families.table import Table, lower
from bnsbench.training.optimisers.rollout import Rollout

Derivative = Literal["backward", "forward", "difference"]
"""How derivatives of the network are found: by backpropagation, by forward-mode differentiation, or by differences."""

Directional = Callable[[BatchField, Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
"""(field, t, x [N, ...], u [N, d], dx [k, N, d], dt [k]) to the derivatives of u in those k directions, [k, N, d]."""

DIFFERENCE_STEPS = {torch.float64: 1e-6, torch.float32: 1e-3, torch.bfloat16: 5e-2, torch.float16: 2e-2}
"""Step of the differences relative to the states' root mean square, by the network's precision: where the errors of
rounding and of the linearisation balance. Below float32 the differences are central."""


def state_tangents(
    table: Table, jacobian: Tensor, field: BatchField, x0: Tensor, rollout: Rollout, directional: Directional
) -> tuple[Tensor, int]:
    """Return d x_i / d theta_k for i = 1 .. n, [n, p, N, d], and the directions that were differentiated, all together.

    jacobian: d entries / d theta [entries, p]. A parameter costs nothing at evaluations that come before its effect.
    """
    n, size = table.n, jacobian.shape[1]
    d_times = torch.cat([jacobian.new_zeros(1, size), jacobian[: n - 1]])
    d_rows = jacobian.new_zeros(n, n + 1, size).index_put(lower(n), jacobian[n - 1 :])
    basis, rows = rollout.basis, table.rows.to(rollout.basis)
    d_basis = basis.new_zeros(n + 1, size, *basis.shape[1:])
    states, spent = [basis.new_zeros(size, *basis.shape[1:])], 0
    for i in range(n):
        moving = torch.nonzero((d_rows[:i] != 0).flatten(0, 1).any(0) | (d_times[: i + 1] != 0).any(0))[:, 0]
        if len(moving):
            x, u = rollout.states[i].reshape(x0.shape).to(x0.dtype), basis[i + 1]
            moved = directional(field, table.times[i], x, u, states[i][moving], d_times[i, moving])
            d_basis[i + 1, moving] = moved.to(basis.dtype)
            spent += len(moving)
        changed = torch.einsum("jk,jnd->knd", d_rows[i, : i + 2].to(basis), basis[: i + 2])
        states.append(changed + torch.tensordot(rows[i, : i + 2], d_basis[: i + 2], dims=1))
    return torch.stack(states[1:]), spent


def forward_mode(field: BatchField, t: Tensor, x: Tensor, u: Tensor, dx: Tensor, dt: Tensor) -> Tensor:
    """Return exact directional derivatives by dual numbers, one direction at a time; each costs two evaluations."""
    del u
    found = []
    for direction, moment in zip(dx, dt.tolist(), strict=True):
        with forward_ad.dual_level():
            times = t.to(x.device).expand(len(x)).clone()
            dual_t = _dual(times, torch.full_like(times, moment))
            dual_x = _dual(x, direction.reshape(x.shape).to(x.dtype))
            tangent = forward_ad.unpack_dual(field(dual_t, dual_x)).tangent  # type: ignore[no-untyped-call]
        found.append(torch.zeros_like(direction) if tangent is None else tangent.flatten(1).to(direction.dtype))
    return torch.stack(found)


def _dual(value: Tensor, tangent: Tensor) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch scripts some of its own derivatives at the first call
        dual: Tensor = forward_ad.make_dual(value, tangent)  # type: ignore[no-untyped-call]
    return dual


def differences(precision: torch.dtype) -> Directional:
    """Return the rule that differentiates by differences, for a network that computes in ``precision``.

    One evaluation per direction, two below float32. A step in time that would leave the interval goes the other way.
    """
    size, central = DIFFERENCE_STEPS[precision], torch.finfo(precision).eps > torch.finfo(torch.float32).eps

    def directional(field: BatchField, t: Tensor, x: Tensor, u: Tensor, dx: Tensor, dt: Tensor) -> Tensor:
        typical = x.double().square().mean().sqrt().clamp_min(1e-12)
        found = []
        for direction, moment in zip(dx, dt.tolist(), strict=True):
            moved = direction.double().square().mean().sqrt() / typical
            span = field.interval[1] - field.interval[0]
            step = size / max(float(moved), abs(moment) / span, 1e-30)
            ends = [sign * step for sign in (1.0, -1.0)]
            ahead, behind = (_clipped(field, float(t), moment, end) for end in ends)
            there = _shifted(field, t, x, direction, moment, ahead or behind)
            if central and ahead and behind:
                back = _shifted(field, t, x, direction, moment, behind)
                found.append((there - back) / (ahead - behind))
            else:
                found.append((there - u.to(there)) / (ahead or behind))
        return torch.stack(found)

    return directional


def _clipped(field: BatchField, t: float, moment: float, step: float) -> float:
    """Return the step, or 0 if it leaves the field's interval."""
    begin, end = field.interval
    return step if begin <= t + step * moment <= end else 0.0


def _shifted(field: BatchField, t: Tensor, x: Tensor, direction: Tensor, moment: float, step: float) -> Tensor:
    there = x + step * direction.reshape(x.shape).to(x.dtype)
    with torch.no_grad():
        return field(t.to(x.device) + step * moment, there).flatten(1)


def evaluations_per_direction(derivative: Derivative, precision: torch.dtype) -> int:
    """Return what a directional derivative costs, in evaluations of the field."""
    low = torch.finfo(precision).eps > torch.finfo(torch.float32).eps
    return 2 if derivative == "forward" or low else 1
