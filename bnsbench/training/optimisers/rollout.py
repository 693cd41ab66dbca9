"""Running a table forward with everything kept, and its derivatives: exact gradient rows for every sample, backwards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from bnsbench.flows.fields import BatchField
from bnsbench.training.families.table import Table, lower

ROWS_AT_ONCE = 2048
"""Rows of a batch in which several tables run together."""


@dataclass(frozen=True)
class Rollout:
    """A table's run on a batch of N samples of d numbers.

    basis: [n + 1, N, d], x_0 followed by the velocities u_0 .. u_{n-1}. states: [n + 1, N, d], x_0 .. x_n. All in at least
    float32.
    """

    basis: Tensor
    states: Tensor

    @property
    def end(self) -> Tensor:
        """The last state x_n [N, d]."""
        return self.states[-1]

    def errors(self, truth: Tensor) -> Tensor:
        """Return each sample's mean squared error [N] in float64 against ``truth`` [N, d]."""
        return (self.end - truth).double().square().mean(1)

    def with_end(self, end: Tensor) -> Rollout:
        """Return the rollout with another last state."""
        return Rollout(self.basis, torch.cat([self.states[:-1], end[None]]))

    def seen(self, table: Table, whole: bool) -> tuple[Tensor, Tensor]:
        """Return the states that an objective looks at [m, N, d] and their times [m, N]: x_1 .. x_n or x_n alone."""
        states = self.states[1:] if whole else self.states[-1:]
        times = table.times[1:] if whole else table.times[-1:]
        return states, times.to(states.device)[:, None].expand(-1, states.shape[1])


def run(table: Table, field: BatchField, x0: Tensor) -> Rollout:
    """Run the table from x0 [N, ...] without gradients."""
    precision = torch.promote_types(x0.dtype, torch.float32)
    flat = x0.to(precision).flatten(1)
    basis = flat.new_empty(table.n + 1, *flat.shape)
    states = flat.new_empty(table.n + 1, *flat.shape)
    rows = table.rows.detach().to(flat)
    basis[0] = states[0] = flat
    with torch.no_grad():
        for i, t in enumerate(table.times[:-1].to(flat.device)):
            basis[i + 1] = field(t, states[i].reshape(x0.shape).to(x0.dtype)).flatten(1)
            states[i + 1] = torch.tensordot(rows[i, : i + 2], basis[: i + 2], dims=1)
    return Rollout(basis, states)


def end_states(tables: Sequence[Table], field: BatchField, x0: Tensor, rows_at_once: int = ROWS_AT_ONCE) -> Iterator[Tensor]:
    """Yield each table's end states [N, d] from x0 [N, ...], as many tables in one batch as fit into ``rows_at_once``.

    tables: of one NFE. In a batch every sample has the time of its own table, so that n evaluations of G N rows take the
    place of G n evaluations of N rows.
    """
    together = max(1, rows_at_once // len(x0))
    for first in range(0, len(tables), together):
        part = tables[first : first + together]
        yield from _ends_together(part, field, x0) if len(part) > 1 else [run(part[0], field, x0).end]


def _ends_together(tables: Sequence[Table], field: BatchField, x0: Tensor) -> Tensor:
    """Return the end states [G, N, d] of G tables that run in one batch of G N rows, table by table."""
    count, samples = len(tables), len(x0)
    precision = torch.promote_types(x0.dtype, torch.float32)
    repeated = field.part(torch.arange(samples, device=x0.device).repeat(count))
    rows = torch.stack([table.rows.detach() for table in tables]).to(x0.device, precision)
    times = torch.stack([table.times for table in tables]).to(x0.device).repeat_interleave(samples, dim=0)
    start = x0.to(precision).flatten(1).expand(count, samples, -1)
    basis = [start]
    state = start
    with torch.no_grad():
        for i in range(tables[0].n):
            x = state.reshape(count * samples, *x0.shape[1:]).to(x0.dtype)
            basis.append(repeated(times[:, i], x).reshape(start.shape).to(precision))
            state = torch.einsum("gj,jgsd->gsd", rows[:, i, : i + 2], torch.stack(basis))
    return state


def differentiable_states(table: Table, field: BatchField, x0: Tensor, checkpointed: bool = False) -> Tensor:
    """Return the states x_1 .. x_n [n, N, d], differentiable in the table's times and rows and in x0.

    checkpointed: keep no activations of the network and evaluate it once more on the way back instead.
    """
    basis, states, x = [x0.flatten(1)], [], x0
    rows = table.rows.to(x0)
    for i, t in enumerate(table.times[:-1].to(x0.device)):
        u = checkpoint(field, t, x, use_reentrant=False) if checkpointed else field(t, x)
        basis.append(torch.as_tensor(u).flatten(1))
        states.append(torch.einsum("j,jnd->nd", rows[i, : i + 2], torch.stack(basis)))
        x = states[-1].reshape(x0.shape)
    return torch.stack(states)


def gradient_rows(table: Table, field: BatchField, x0: Tensor, rollout: Rollout, cotangents: Tensor) -> Tensor:
    """Return sum_i v_si^T d x_i^s / d entries for every sample s and cotangent v: [K, N, p] in float64.

    cotangents: [K, m, N, d], of the last m states; m = 1 is the end alone, m = n all of x_1 .. x_n. The entries are
    (t_1 .. t_{n-1}, free row entries row by row), p = n - 1 + n (n + 3) / 2. The sweep goes back through the table; each
    evaluation is redone with a graph of its own, so memory does not grow with n.
    """
    n, kinds, reach = table.n, len(cotangents), cotangents.shape[1]
    rows = table.rows.to(rollout.basis)
    adjoint = torch.zeros(kinds, *rollout.basis.shape, dtype=rollout.basis.dtype, device=x0.device)
    d_rows = torch.zeros(kinds, x0.shape[0], n, n + 1, dtype=torch.float64)
    d_times = torch.zeros(kinds, x0.shape[0], n - 1, dtype=torch.float64)
    at_state = cotangents[:, -1].to(rollout.basis)
    for i in range(n - 1, -1, -1):
        d_rows[:, :, i, : i + 2] = torch.einsum("knd,jnd->knj", at_state, rollout.basis[: i + 2]).double().cpu()
        adjoint[:, : i + 2] += rows[i, : i + 2, None, None] * at_state[:, None]
        if i > 0:
            at_state, at_time = _pull_back(field, table.times[i], rollout.states[i], x0, adjoint[:, i + 1])
            d_times[:, :, i - 1] = at_time.double().cpu()
            if i >= n - reach + 1:
                at_state = at_state + cotangents[:, i - 1 - n].to(at_state)
    row, column = lower(n)
    return torch.cat([d_times, d_rows[:, :, row, column]], dim=2)


def _pull_back(field: BatchField, t: Tensor, state: Tensor, like: Tensor, cotangents: Tensor) -> tuple[Tensor, Tensor]:
    """Return cotangents [K, N, d] and [K, N] of the state and the time of one evaluation, for those of its velocity."""
    x = state.reshape(like.shape).to(like.dtype).requires_grad_()
    times = t.to(like.device).expand(len(state)).clone().requires_grad_()
    with torch.enable_grad():
        u = field(times, x)
    if not u.requires_grad:  # the same everywhere and always
        return torch.zeros_like(cotangents), cotangents.new_zeros(cotangents.shape[:2])
    pulled = []
    for k, cotangent in enumerate(cotangents):
        keep, aim = k + 1 < len(cotangents), cotangent.reshape(u.shape).to(u.dtype)
        # A field may know no time, or no state.
        pulled.append(torch.autograd.grad(u, (x, times), aim, retain_graph=keep, materialize_grads=True))
    dx = torch.stack([at_state.flatten(1).to(state.dtype) for at_state, _ in pulled])
    dt = torch.stack([at_time for _, at_time in pulled])
    return dx.detach(), dt.detach()  # zeros for what is not known require gradients in older releases of torch
