"""The engine: runs every non-stationary solver with one buffer and one matrix product per evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import reduce

import torch
from torch import Tensor

from bnsbench.errors import UsageError
from bnsbench.flows.fields import Columns, VelocityField
from bnsbench.flows.precision import times_on

Evaluate = Callable[[int, Tensor], Tensor]
"""(i, x_i) to what the table weighs of evaluation i there, [columns, ...]: u_i, or both answers of a guided network."""

Combine = Callable[[int, Tensor], Tensor]
"""(i, (x_0, u_0, .., u_i) [1 + (i + 1) columns, ...]) to the next state x_{i+1}; of a table, the product with its row i."""


def recursion(basis: Tensor, evaluate: Evaluate, combine: Combine, columns: int = 1) -> Iterator[Tensor]:
    """Yield the states x_1 .. x_n of a non-stationary solver (Shaul et al. 2024, Algorithm 1), one evaluation each.

    Args:
        basis: [1 + n columns, ...]. Its first row is x_0, which stays; those after it are filled with u_0, u_1, ...
        evaluate: Returns u_i. It may write into the state that it gets.
        combine: Returns x_{i+1} from the rows x_0, u_0 .. u_i of the basis.
        columns: Rows of the basis that one evaluation fills.
    """
    # A copy, since `evaluate` may write into its state and every row of the table weighs x_0 again.
    state = basis[0].clone()
    for i in range((len(basis) - 1) // columns):
        known = 1 + i * columns
        # u_i = u_{t_i}(x_i)
        basis[known : known + columns] = evaluate(i, state)
        # x_{i+1} = a_i x_0 + sum_{j<=i} b_ij u_j
        state = combine(i, basis[: known + columns])
        yield state


def last(states: Iterator[Tensor]) -> Tensor:
    """Return the last of one or more states, none of which is kept while the next one is made."""
    return reduce(lambda _, state: state, states)


@torch.no_grad()
def sample(times: Tensor, rows: Tensor, field: VelocityField, x0: Tensor, guidance: float | None = None) -> Tensor:
    """Return the last state x_n of a table for initial states.

    Sums are taken in at least float32. The result is not checked for finite numbers, because a check would make an
    accelerator wait; the caller does it where it matters.

    Args:
        times: [n + 1], float64 on the CPU. The field gets them as 0-d tensors on x0's device, float64 where that has it.
        rows: [n, 1 + n columns]; row i is (a_i, b_i0, .., b_ii, 0, ..).
        field: The velocity field.
        x0: Initial states [batch, ...] in any floating-point precision; they keep their values.
        guidance: The scale w of a table of two columns, which weighs both answers under it; None for one of velocities.

    Raises:
        UsageError: If what the field returns is not shaped like x.
        NotApplicableError: If the table has two columns, and the field not both answers under its guidance.
    """
    return run(*placed(times, rows, x0), field, x0, guidance)


def placed(times: Tensor, rows: Tensor, x0: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
    """Return a table's times, 0-d each, and its rows where the states x0 lie, in the precisions that `run` takes."""
    precision = torch.promote_types(x0.dtype, torch.float32)
    return times_on(times, x0.device).unbind(), rows.to(precision).to(x0.device)


def run(moments: Sequence[Tensor], rows: Tensor, field: VelocityField, x0: Tensor, guidance: float | None = None) -> Tensor:
    """Return the last state of a table that is `placed`; as `sample`, and nothing of it comes from the CPU's memory."""
    # The matrix with the rows x_0, u_0 .. u_{n-1}, each the whole batch as one flat vector.
    basis = torch.empty(rows.shape[1], x0.numel(), dtype=rows.dtype, device=x0.device)
    basis[0] = x0.reshape(-1)
    seen, columns = Columns(field, guidance), columns_of(rows)

    def evaluate(i: int, state: Tensor) -> Tensor:
        return _velocity(seen, moments[i], state.to(x0.dtype).view(x0.shape)).reshape(columns, x0.numel())

    def combine(i: int, known: Tensor) -> Tensor:
        # x_{i+1} is the basis times row i. With `out`, an autocast that is meant for the network leaves the product alone.
        return torch.mv(known.T, rows[i, : len(known)], out=torch.empty_like(known[0]))

    # Of all states only the last is kept.
    return last(recursion(basis, evaluate, combine, columns)).to(x0.dtype).view(x0.shape)


def columns_of(rows: Tensor) -> int:
    """Return how many columns of rows [n, 1 + n columns] belong to one evaluation."""
    return (rows.shape[1] - 1) // len(rows)


def _velocity(seen: Columns, t: Tensor, x: Tensor) -> Tensor:
    """Return u_t(x) [columns, batch, ...]; UsageError if not shaped like x, since broadcasting would fill the basis."""
    found = seen(t, x)
    if found.shape[1:] != x.shape:
        raise UsageError(
            f"The field returned a velocity of shape {list(found.shape[1:])} for states of shape {list(x.shape)}; a field "
            "takes (t, x), the time before the state, and returns a velocity shaped like x."
        )
    return found
