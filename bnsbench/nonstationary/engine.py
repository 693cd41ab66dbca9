"""The engine: runs every non-stationary solver with one buffer and one matrix product per evaluation."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from bnsbench.errors import UsageError
from bnsbench.flows.fields import VelocityField
from bnsbench.flows.precision import times_on


class Table(Protocol):
    """The numbers of `bnsbench.nonstationary.table.NonStationarySolver`: times [n + 1], a [n] and b [n, n]."""

    @property
    def times(self) -> Tensor: ...

    @property
    def a(self) -> Tensor: ...

    @property
    def b(self) -> Tensor: ...


@torch.no_grad()
def sample(solver: Table, field: VelocityField, x0: Tensor) -> Tensor:
    """Return x_n of x_{i+1} = a_i x_0 + sum_{j<=i} b_ij u_{t_j}(x_j) (Shaul et al. 2024, Algorithm 1).

    x0 is [batch, ...] in any floating-point precision and keeps its values; sums are taken in at least float32. The field
    gets its times as 0-d float64 tensors on x0's device, float32 where the device has no float64. UsageError if what it
    returns is not shaped like x. Whether the result is finite is the caller's question: asking it here would make an
    accelerator wait.
    """
    precision = torch.promote_types(x0.dtype, torch.float32)
    rows = torch.cat([solver.a[:, None], solver.b], dim=1).to(precision).to(x0.device)
    times = times_on(solver.times, x0.device).unbind()
    # Row 0 holds x_0 and row j + 1 holds u_j, so that a row of the table times its filled part is the next state.
    history = torch.empty(len(rows) + 1, x0.numel(), dtype=precision, device=x0.device)
    history[0] = x0.reshape(-1)
    x = x0.clone()
    for i, row in enumerate(rows):
        history[i + 1] = _velocity(field, times[i], x).reshape(-1)
        # With a place for its result, the product is out of reach of an autocast that is meant for the network.
        state = torch.mv(history[: i + 2].T, row[: i + 2], out=torch.empty_like(history[0]))
        x = state.to(x0.dtype).view(x0.shape)
    return x


def _velocity(field: VelocityField, t: Tensor, x: Tensor) -> Tensor:
    """Return u_t(x), unless it has another shape than x: a row of the history would be filled by broadcasting it."""
    velocity = field(t, x)
    if velocity.shape != x.shape:
        raise UsageError(
            f"The field returned a velocity of shape {list(velocity.shape)} for states of shape {list(x.shape)}; a field "
            "takes (t, x), the time before the state, and returns a velocity shaped like x."
        )
    return velocity
