"""How a network is differentiated where the user leaves it open: by the first way that works for one sample.

Backpropagation comes first: one sweep gives a sample's whole gradient, and sketches of its matrix. Dual numbers keep no
graph, but take an evaluation for every direction. Differences need nothing but evaluations, and are the least exact. A way
works if it fits into memory, if all operators have that derivative, and if it agrees with a difference: a network that
computes without gradients inside would give none, and say nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import cast

import torch
from torch import Tensor

from bnsbench.errors import UsageError
from bnsbench.flows.fields import Columns
from bnsbench.flows.model import Model
from bnsbench.process.parts import DoesNotFitError, free_memory
from bnsbench.process.ranks import team
from bnsbench.training.optimisers.forward_derivatives import (
    Derivative,
    differences,
    evaluations_per_direction,
    forward_mode,
)
from bnsbench.training.optimisers.rollout import pull_back
from bnsbench.training.problem import Cost
from bnsbench.truth.noise import stream_seed
from bnsbench.truth.pairs import Pairs

AUTO = "auto"
"""The name that leaves the choice open."""
PLACE = 0.5
"""Share of the interval at which the network is tried."""
AGREEMENT = 0.25
"""Of two derivatives of one network: a difference in bfloat16 is not more exact."""


def settle_derivative(name: str, pairs: Pairs, precision: torch.dtype, cost: Cost, checkpointed: bool = False) -> Derivative:
    """Return the derivative of that name; for "auto", the first of backward, forward and difference that works.

    Args:
        name: "backward", "forward", "difference" or "auto".
        pairs: on the first of which it is tried.
        precision: in which the network computes.
        cost: where the evaluations of the attempts are counted.
        checkpointed: whether the network computes activations once more on the way back.
    """
    if name != AUTO:
        return cast("Derivative", name)
    field, x = pairs.field.part(slice(1)), pairs.x0[:1]
    begin, end = field.interval
    t = torch.tensor(begin + PLACE * (end - begin), dtype=torch.float64)
    still = torch.zeros(1, dtype=torch.float64)
    # How the velocity changes along a direction of the state, from evaluations alone. Whatever is wrong with the network
    # itself comes to light here.
    generator = torch.Generator().manual_seed(stream_seed("derivative"))
    direction = torch.randn(x.flatten(1).shape, generator=generator).to(x)[None]
    with torch.no_grad():
        u = field(t, x).flatten(1)
    change = differences(precision)(field, t, x, u, direction, still)
    cost.training += 1 + evaluations_per_direction("difference", precision)

    def backward() -> Tensor:
        with recomputing(field.model) if checkpointed else nullcontext():
            of_state, _ = pull_back(Columns(field), t, x.flatten(1), x, change[:, None])
        return (of_state.double() * direction.double()).sum()

    def forward() -> Tensor:
        return (forward_mode(field, t, x, u, direction, still).double() * change.double()).sum()

    # Both are |du|^2 if they are right.
    expected = float(change.double().square().sum())
    cost.training += 1 + back_evaluations(checkpointed)
    if _works(backward, expected):
        return "backward"
    cost.training += evaluations_per_direction("forward", precision)
    return "forward" if _works(forward, expected) else "difference"


def back_evaluations(checkpointed: bool) -> int:
    """Return the evaluations that count for one pass back through an evaluation: two, and one more that computes it anew."""
    return 3 if checkpointed else 2


@contextmanager
def recomputing(model: Model) -> Iterator[None]:
    """Let a model keep few activations for passes back; UsageError if it cannot."""
    try:
        if not model.recompute(True):
            raise UsageError(
                f"{type(model).__name__} cannot compute its activations once more, so checkpointed=true spares no memory"
                " with gauss-newton: leave it out, or choose derivative=forward or derivative=difference."
            )
        yield
    finally:
        model.recompute(False)


def _works(attempt: Callable[[], Tensor], expected: float) -> bool:
    """Whether a derivative can be computed and is what it should be; the first process tries it for all."""
    return team().of_first(lambda: _works_here(attempt, expected))


def _works_here(attempt: Callable[[], Tensor], expected: float) -> bool:
    try:
        return abs(float(attempt()) - expected) <= AGREEMENT * expected
    except (DoesNotFitError, MemoryError, RuntimeError):  # without memory, or an operator without that derivative
        pass
    free_memory()
    return False
