"""Checks that hold for any computation: repeatable, and without the global random states."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from bnsbench.process.random_states import random_states, seeded_random_states
from bnsbench.testing.report import Verdict, failed, passed

Computation = Callable[[], Sequence[Tensor]]


def repeatable(compute: Computation) -> Verdict:
    """Check that two runs from the same global random states agree to the last bit."""
    results = []
    for _ in range(2):
        with seeded_random_states(0):
            results.append(compute())
    if equal_to_the_bit(*results):
        return passed()
    return failed("Two runs on the same input differ.", "Draw random numbers from a generator that it seeds itself.")


def global_randomness(make: Callable[[], Computation]) -> Verdict:
    """Check that a computation neither moves the global random states nor depends on them.

    Args:
        make: Prepares the computation, for example by building networks. This draws initial weights, so it may move the
            states, but the results must not depend on them.
    """
    remedy = "Use a generator of its own, such as torch.Generator().manual_seed(0)."
    results = []
    for seed in (1, 1, 2):
        with seeded_random_states(seed):
            compute = make()
            before = random_states()
            results.append(compute())
            moved = [module for module, state in random_states().items() if state != before[module]]
        if moved:
            return failed(f"It moves the global random state of {' and '.join(moved)}.", remedy)
    alike, other = equal_to_the_bit(results[0], results[1]), equal_to_the_bit(results[0], results[2])
    return failed("Its results depend on the global random state.", remedy) if alike and not other else passed()


def equal_to_the_bit(first: Sequence[Tensor], second: Sequence[Tensor]) -> bool:
    """Return whether two sequences of tensors agree to the last bit; NaN equals itself."""
    pairs = list(zip(first, second, strict=True))
    return all(a.shape == b.shape and torch.equal(a.isnan(), b.isnan()) for a, b in pairs) and all(
        torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in pairs
    )
