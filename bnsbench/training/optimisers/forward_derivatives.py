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

from bnsbench.flows.fields import BatchField, Columns
from bnsbench.nonstationary.engine import recursion
from bnsbench.nonstationary.table import NonStationarySolver, free_entries
from bnsbench.training.optimisers.rollout import Rollout

Derivative = Literal["backward", "forward", "difference"]
"""How derivatives of the network are found: by backpropagation, by forward-mode differentiation, or by differences."""

Directional = Callable[[BatchField | Columns, Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
"""(field, t, x [N, ...], u [N, d], dx [k, N, d], dt [k]) to the derivatives of u in those k directions, [k, N, d].

Of the columns of a table's evaluations, u is [columns, N, d], and so is each derivative.
"""

DIFFERENCE_STEPS = {torch.float64: 1e-6, torch.float32: 1e-3, torch.bfloat16: 5e-2, torch.float16: 2e-2}
"""Step of the differences relative to the states' root mean square, by the network's precision: where the errors of
rounding and of the linearisation balance. Below float32 the differences are central."""


def state_tangents(
    table: NonStationarySolver, jacobian: Tensor, field: BatchField, x0: Tensor, rollout: Rollout, directional: Directional
) -> tuple[Tensor, int]:
    """Return how every state moves with every parameter, and what that has cost.

    A parameter costs nothing at evaluations that come before its effect.

    Args:
        table: the table that was run.
        jacobian: d entries / d theta [entries, p].
        field: for the N samples.
        x0: initial states [N, ...].
        rollout: the table's run from them.
        directional: how the network is differentiated.

    Returns:
        d x_i / d theta_k for i = 1 .. n, [n, p, N, d], and the directions that were differentiated, all together.
    """
    n, size = table.nfe, jacobian.shape[1]
    d_times = torch.cat([jacobian.new_zeros(1, size), jacobian[: n - 1]])
    d_rows = jacobian.new_zeros(*table.rows.shape, size).index_put(free_entries(n, table.columns), jacobian[n - 1 :])
    # The parameters that move u_i: those of rows before it, and those of times up to its own.
    moving = [torch.nonzero((d_rows[:i] != 0).flatten(0, 1).any(0) | (d_times[: i + 1] != 0).any(0))[:, 0] for i in range(n)]
    basis, rows, columns = rollout.basis, table.rows.to(rollout.basis), table.columns
    seen = Columns(field, table.guidance)

    def velocity_tangent(i: int, d_state: Tensor) -> Tensor:
        """Return d u_i = (du/dx) d x_i + (du/dt) d t_i [columns, p, N, d]."""
        d_velocity = d_state.new_zeros(columns, *d_state.shape)
        if len(moving[i]):
            x, u = rollout.states[i].reshape(x0.shape).to(x0.dtype), basis[1 + i * columns : 1 + (i + 1) * columns]
            found = directional(seen, table.times[i], x, u, d_state[moving[i]], d_times[i, moving[i]])
            d_velocity[:, moving[i]] = found.to(basis.dtype).transpose(0, 1)
        return d_velocity

    def next_tangent(i: int, d_basis: Tensor) -> Tensor:
        """Return d x_{i+1} = sum_j (d row_j) basis_j + row_j (d basis_j) [p, N, d]."""
        known = len(d_basis)
        by_row = torch.einsum("jk,jnd->knd", d_rows[i, :known].to(basis), basis[:known])
        by_velocities: Tensor = torch.tensordot(rows[i, :known], d_basis, dims=1)
        return by_row + by_velocities

    d_basis = basis.new_zeros(len(basis), size, *basis.shape[1:])  # x_0 does not move
    return torch.stack(list(recursion(d_basis, velocity_tangent, next_tangent, columns))), sum(map(len, moving))


def forward_mode(field: BatchField | Columns, t: Tensor, x: Tensor, u: Tensor, dx: Tensor, dt: Tensor) -> Tensor:
    """Return exact directional derivatives by dual numbers, one direction at a time; each costs two evaluations."""
    found = []
    for x_direction, t_direction in zip(dx, dt.tolist(), strict=True):
        with forward_ad.dual_level():
            times = t.to(x.device).expand(len(x)).clone()
            dual_t = _dual(times, torch.full_like(times, t_direction))
            dual_x = _dual(x, x_direction.reshape(x.shape).to(x.dtype))
            tangent = forward_ad.unpack_dual(field(dual_t, dual_x)).tangent  # type: ignore[no-untyped-call]
        found.append(torch.zeros_like(u) if tangent is None else tangent.reshape(u.shape).to(u.dtype))
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

    def directional(field: BatchField | Columns, t: Tensor, x: Tensor, u: Tensor, dx: Tensor, dt: Tensor) -> Tensor:
        typical = x.double().square().mean().sqrt().clamp_min(1e-12)
        found = []
        for x_direction, t_direction in zip(dx, dt.tolist(), strict=True):
            # A step that moves the states, or the time, by ``size`` of what is typical for them.
            moved = x_direction.double().square().mean().sqrt() / typical
            span = field.interval[1] - field.interval[0]
            step = size / max(float(moved), abs(t_direction) / span, 1e-30)
            ahead, behind = (_clipped(field, float(t), t_direction, sign * step) for sign in (1.0, -1.0))
            there = _shifted(field, t, x, x_direction, t_direction, ahead or behind).reshape(u.shape)
            if central and ahead and behind:
                back = _shifted(field, t, x, x_direction, t_direction, behind).reshape(u.shape)
                found.append((there - back) / (ahead - behind))
            else:
                found.append((there - u.to(there)) / (ahead or behind))
        return torch.stack(found)

    return directional


def _clipped(field: BatchField | Columns, t: float, t_direction: float, step: float) -> float:
    """Return the step, or 0 if it leaves the field's interval."""
    begin, end = field.interval
    return step if begin <= t + step * t_direction <= end else 0.0


def _shifted(
    field: BatchField | Columns, t: Tensor, x: Tensor, x_direction: Tensor, t_direction: float, step: float
) -> Tensor:
    there = x + step * x_direction.reshape(x.shape).to(x.dtype)
    with torch.no_grad():
        return field(t.to(x.device) + step * t_direction, there)


def evaluations_per_direction(derivative: Derivative, precision: torch.dtype) -> int:
    """Return what a directional derivative costs, in evaluations of the field."""
    low = torch.finfo(precision).eps > torch.finfo(torch.float32).eps
    return 2 if derivative == "forward" or low else 1
