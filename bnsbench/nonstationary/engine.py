"""The engine: runs every non-stationary solver with one buffer and one matrix product per evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import reduce

import torch
from torch import Tensor

from bnsbench.errors import UsageError
from bnsbench.flows.fields import VelocityField
from bnsbench.flows.precision import times_on

Evaluate = Callable[[int, Tensor], Tensor]
"""(i, x_i) to u_i, the value of the field there."""

Combine = Callable[[int, Tensor], Tensor]
"""(i, (x_0, u_0, .., u_i) [i + 2, ...]) to the next state x_{i+1}; of a table, the product with its row i."""


def recursion(basis: Tensor, evaluate: Evaluate, combine: Combine) -> Iterator[Tensor]:
    """Yield the states x_1 .. x_n of a non-stationary solver (Shaul et al. 2024, Algorithm 1), one evaluation each.

    Args:
        basis: [n + 1, ...], whose first row is x_0 and is left alone; row j + 1 is filled with u_j.
        evaluate: gives u_i. It may write into the state that it gets.
        combine: gives x_{i+1} from what of the basis is known.
    """
    state = basis[0].clone()
    for i in range(len(basis) - 1):
        basis[i + 1] = evaluate(i, state)
        state = combine(i, basis[: i + 2])
        yield state


def last(states: Iterator[Tensor]) -> Tensor:
    """Return the last of one or more states, none of which is kept while the next one is made."""
    return reduce(lambda _, state: state, states)


@torch.no_grad()
def sample(times: Tensor, rows: Tensor, field: VelocityField, x0: Tensor) -> Tensor:
    """Return the last state x_n of a table for initial states.

    Sums are taken in at least float32. Whether the result is finite is the caller's question: asking it here would make
    an accelerator wait.

    Args:
        times: [n + 1], float64 on the CPU. The field gets them as 0-d tensors on x0's device, float64 where that has it.
        rows: [n, n + 1], row i being (a_i, b_i0, .., b_ii, 0, ..).
        field: the velocity field.
        x0: initial states [batch, ...] in any floating-point precision; they keep their values.

    Raises:
        UsageError: if what the field returns is not shaped like x.
    """
    precision = torch.promote_types(x0.dtype, torch.float32)
    rows = rows.to(precision).to(x0.device)
    moments = times_on(times, x0.device).unbind()
    basis = torch.empty(len(rows) + 1, x0.numel(), dtype=precision, device=x0.device)
    basis[0] = x0.reshape(-1)

    def evaluate(i: int, state: Tensor) -> Tensor:
        return _velocity(field, moments[i], state.to(x0.dtype).view(x0.shape)).reshape(-1)

    def combine(i: int, known: Tensor) -> Tensor:
        # With a place for its result, the product is out of reach of an autocast that is meant for the network.
        return torch.mv(known.T, rows[i, : i + 2], out=torch.empty_like(known[0]))

    return last(recursion(basis, evaluate, combine)).to(x0.dtype).view(x0.shape)


def _velocity(field: VelocityField, t: Tensor, x: Tensor) -> Tensor:
    """Return u_t(x), unless it has another shape than x: a row of the basis would be filled by broadcasting it."""
    velocity = field(t, x)
    if velocity.shape != x.shape:
        raise UsageError(
            f"The field returned a velocity of shape {list(velocity.shape)} for states of shape {list(x.shape)}; a field "
            "takes (t, x), the time before the state, and returns a velocity shaped like x."
        )
    return velocity
