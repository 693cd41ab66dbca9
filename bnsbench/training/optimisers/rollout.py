"""Running a table forward with everything kept, and its derivatives: exact gradient rows for every sample, backwards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from bnsbench.flows.fields import BatchField, Columns, parts_of, restricted
from bnsbench.nonstationary.engine import Combine, recursion
from bnsbench.nonstationary.table import NonStationarySolver, free_entries
from bnsbench.process import clock

ROWS_AT_ONCE = 2048
"""Rows of a batch in which several tables run together."""


@dataclass(frozen=True)
class Rollout:
    """A table's run on a batch of N samples of d numbers.

    Args:
        basis: [1 + n columns, N, d], x_0 followed by the velocities u_0 .. u_{n-1}, or by both answers of every evaluation,
            in at least float32.
        states: [n + 1, N, d], x_0 .. x_n, in the same precision.
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

    def part(self, index: slice) -> Rollout:
        """Return the run of a part of the samples."""
        return Rollout(self.basis[:, index], self.states[:, index])

    def with_end(self, end: Tensor) -> Rollout:
        """Return the rollout with another last state."""
        return Rollout(self.basis, torch.cat([self.states[:-1], end[None]]))

    def compared(self, table: NonStationarySolver, whole: bool) -> tuple[Tensor, Tensor]:
        """Return the states that an objective compares [m, N, d] and their times [m, N]: x_1 .. x_n if ``whole``, or x_n."""
        states = self.states[1:] if whole else self.states[-1:]
        times = table.times[1:] if whole else table.times[-1:]
        return states, times.to(states.device)[:, None].expand(-1, states.shape[1])


def run(table: NonStationarySolver, field: BatchField, x0: Tensor) -> Rollout:
    """Run the table from x0 [N, ...] without gradients."""
    rows = table.rows.detach().to(x0.device, _precision(x0))
    return roll(
        table.times, field, x0, lambda i, basis: torch.tensordot(rows[i, : len(basis)], basis, dims=1), table.guidance
    )


def roll(times: Tensor, field: BatchField, x0: Tensor, combine: Combine, guidance: float | None = None) -> Rollout:
    """Run x_{i+1} = combine(i, (x_0, u_0, .., u_i)) from x0 [N, ...] without gradients, and keep everything.

    Args:
        times: [n + 1], or [n + 1, N] where samples have times of their own.
        field: for the N samples.
        x0: initial states; they and the velocities are held in at least float32.
        combine: gives the next state [N, d] from [1 + (i + 1) columns, N, d].
        guidance: of a table of two columns.
    """
    start, moments = x0.to(_precision(x0)).flatten(1), times.to(x0.device)
    seen, columns = Columns(field, guidance), 1 if guidance is None else 2
    basis = start.new_empty(1 + (len(times) - 1) * columns, *start.shape)
    states = start.new_empty(len(times), *start.shape)
    basis[0] = states[0] = start
    with torch.no_grad():
        reached = recursion(
            basis, lambda i, x: seen(moments[i], x.reshape(x0.shape).to(x0.dtype)).flatten(2), combine, columns
        )
        for i, state in enumerate(reached):
            states[i + 1] = state
    return Rollout(basis, states)


def _precision(x0: Tensor) -> torch.dtype:
    return torch.promote_types(x0.dtype, torch.float32)


def end_states(
    tables: Sequence[NonStationarySolver], field: BatchField, x0: Tensor, rows_at_once: int = ROWS_AT_ONCE
) -> Iterator[Tensor]:
    """Yield each table's end states [N, d] from x0 [N, ...], as many tables in one batch as fit into ``rows_at_once``.

    tables: of one NFE and guidance. In a batch every sample has the time of its own table, so that n evaluations of G N rows
    take the place of G n evaluations of N rows.
    """
    together = max(1, rows_at_once // len(x0))
    for first in range(0, len(tables), together):
        part = tables[first : first + together]
        yield from _ends_together(part, field, x0) if len(part) > 1 else [run(part[0], field, x0).end]


def _ends_together(tables: Sequence[NonStationarySolver], field: BatchField, x0: Tensor) -> Tensor:
    """Return the end states [G, N, d] of G tables that run in one batch of G N rows, table by table."""
    count, samples = len(tables), len(x0)
    repeated = field.part(torch.arange(samples, device=x0.device).repeat(count))
    rows = torch.stack([table.rows.detach() for table in tables]).to(x0.device, _precision(x0))
    times = torch.stack([table.times for table in tables], dim=1).repeat_interleave(samples, dim=1)

    def combine(i: int, basis: Tensor) -> Tensor:
        each = basis.view(len(basis), count, samples, -1)
        return torch.einsum("gj,jgsd->gsd", rows[:, i, : len(basis)], each).flatten(0, 1)

    start = x0.expand(count, *x0.shape).flatten(0, 1)
    return roll(times, repeated, start, combine, tables[0].guidance).end.view(count, samples, -1)


def differentiable_states(table: NonStationarySolver, field: BatchField, x0: Tensor, checkpointed: bool = False) -> Tensor:
    """Return the states x_1 .. x_n [n, N, d], differentiable in the table's times and rows and in x0.

    This is `recursion` once more, since autograd cannot follow a basis that is filled in place.

    Args:
        table: as its family gives it, with autograd following its numbers.
        field: for the N samples.
        x0: initial states [N, ...].
        checkpointed: keep no activations of the network and evaluate it once more on the way back instead.
    """
    basis, states, x = [x0.flatten(1)], [], x0
    rows, seen = table.rows.to(x0), Columns(field, table.guidance)
    for i, t in enumerate(table.times[:-1].to(x0.device)):
        u = checkpoint(seen, t, x, use_reentrant=False) if checkpointed else seen(t, x)
        basis.extend(torch.as_tensor(u).flatten(2))
        states.append(torch.einsum("j,jnd->nd", rows[i, : len(basis)], torch.stack(basis)))
        x = states[-1].reshape(x0.shape)
    return torch.stack(states)


def gradient_rows(table: NonStationarySolver, field: BatchField, x0: Tensor, rollout: Rollout, cotangents: Tensor) -> Tensor:
    """Return sum_i v_si^T d x_i^s / d entries for every sample s and cotangent v: [K, N, p] in float64.

    The sweep goes back through the table; each evaluation is redone with a graph of its own, so memory does not grow
    with n, and the samples are taken in parts whose graphs fit.

    Args:
        table: the table that was run.
        field: for the N samples.
        x0: initial states [N, ...].
        rollout: the table's run from them.
        cotangents: [K, m, N, d], of the last m states; m = 1 is the end alone, m = n all of x_1 .. x_n.

    Returns:
        By the entries (t_1 .. t_{n-1}, free row entries row by row), p = n - 1 + n (n + 3) / 2 of velocities.

    Raises:
        DoesNotFitError: if the graph of one evaluation of one sample does not fit into memory.
    """

    def do(part: slice) -> Tensor:
        own = restricted(field, part, len(x0))
        return _rows_of_part(table, own, x0[part], rollout.part(part), cotangents[:, :, part])

    return torch.cat(parts_of(field).each("gradients", len(x0), do), dim=1)


def _rows_of_part(table: NonStationarySolver, field: BatchField, x0: Tensor, rollout: Rollout, cotangents: Tensor) -> Tensor:
    """Return the rows of samples whose graphs are held together; arguments and result as of `gradient_rows`."""
    n, kinds, reach = table.nfe, len(cotangents), cotangents.shape[1]
    rows, seen = table.rows.to(rollout.basis), Columns(field, table.guidance)
    basis_cotangent = torch.zeros(kinds, *rollout.basis.shape, dtype=rollout.basis.dtype, device=x0.device)
    d_rows = torch.zeros(kinds, x0.shape[0], *rows.shape, dtype=torch.float64)
    d_times = torch.zeros(kinds, x0.shape[0], n - 1, dtype=torch.float64)
    state_cotangent = cotangents[:, -1].to(rollout.basis)
    for i in range(n - 1, -1, -1):
        before, known = 1 + i * table.columns, 1 + (i + 1) * table.columns
        # x_{i+1} = sum_j row_j basis_j passes its cotangent on to its row and to what it combines,
        d_rows[:, :, i, :known] = torch.einsum("knd,jnd->knj", state_cotangent, rollout.basis[:known]).double().cpu()
        basis_cotangent[:, :known] += rows[i, :known, None, None] * state_cotangent[:, None]
        if i > 0:
            # u_i = u(t_i, x_i) passes on what has come to it to its state and time; nothing later asks for u_i.
            state_cotangent, time_cotangent = pull_back(
                seen, table.times[i], rollout.states[i], x0, basis_cotangent[:, before:known]
            )
            d_times[:, :, i - 1] = time_cotangent.double().cpu()
            if i >= n - reach + 1:  # the objective compares this state as well
                state_cotangent = state_cotangent + cotangents[:, i - 1 - n].to(state_cotangent)
    row, column = free_entries(n, table.columns)
    return torch.cat([d_times, d_rows[:, :, row, column]], dim=2)


def pull_back(seen: Columns, t: Tensor, state: Tensor, like: Tensor, cotangents: Tensor) -> tuple[Tensor, Tensor]:
    """Return cotangents [K, N, d] and [K, N] of an evaluation's state and time, for those of its columns [K, ., N, d]."""
    x = state.reshape(like.shape).to(like.dtype).requires_grad_()
    times = t.to(like.device).expand(len(state)).clone().requires_grad_()
    with torch.enable_grad():
        u = seen(times, x)
    if not u.requires_grad:  # the same everywhere and always
        nothing = torch.zeros_like(cotangents[:, 0])
        return nothing, nothing.new_zeros(nothing.shape[:2])
    pulled_back = []
    for k, cotangent in enumerate(cotangents):
        more_to_come, of_velocity = k + 1 < len(cotangents), cotangent.reshape(u.shape).to(u.dtype)
        # A field may know no time, or no state.
        with clock.network(x.device):
            pulled_back.append(
                torch.autograd.grad(u, (x, times), of_velocity, retain_graph=more_to_come, materialize_grads=True)
            )
    dx = torch.stack([at_state.flatten(1).to(state.dtype) for at_state, _ in pulled_back])
    dt = torch.stack([at_time for _, at_time in pulled_back])
    return dx.detach(), dt.detach()  # zeros for what is not known require gradients in older releases of torch
