"""From the selection of a classic or direct solver to what samples, and running it with its evaluations counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from bnsbench.contract import Selection
from bnsbench.contract.returned import states
from bnsbench.contract.specs import SolverSpec
from bnsbench.errors import NotApplicableError
from bnsbench.flows.fields import BatchField, VelocityField
from bnsbench.flows.measured import Meter
from bnsbench.flows.paths import Path
from bnsbench.nonstationary.table import NonStationarySolver
from bnsbench.nonstationary.tracing import trace
from bnsbench.process.surroundings import guarded
from bnsbench.storage.rows import Rows

Sampler = Callable[[VelocityField, Tensor], Tensor]
"""Takes a field and initial states, and returns end states of the same shape."""


def sampler_of(
    selection: Selection[SolverSpec], nfe: int, path: Path, interval: tuple[float, float]
) -> NonStationarySolver | Sampler:
    """Return the solver's table for the path, interval and NFE, or the function itself if it runs directly.

    selection: of kind "traced" or "direct". NotApplicableError where it cannot be traced, or is a network of its own.
    """
    if selection.spec.kind == "distilled":
        raise NotApplicableError(f"The solver {selection.name!r} is a network of its own for each model, and has no table.")
    with guarded():  # it may have to be imported
        function = selection.make()

    def sampler(velocity: VelocityField, x0: Tensor) -> Tensor:
        x1: Tensor = function(velocity, x0, nfe)
        return x1

    return sampler if selection.spec.kind == "direct" else trace(sampler, path, interval)


class States(Protocol):
    """States [n, ...] of which a part is taken after the other."""

    def __getitem__(self, rows: slice, /) -> Tensor: ...

    def __len__(self) -> int: ...


def run_metered(sampler: Sampler, field: BatchField, x0: States, nfe: int, batch: int) -> tuple[Tensor, int]:
    """Run a sampler on a field, counted where it cannot reach the count.

    Args:
        sampler: A table or a function.
        field: The velocity field of all samples.
        x0: Their initial states [n, ...], which stay as they are.
        nfe: The evaluations that each sample is to have.
        batch: Samples that are run together.

    Returns:
        The end states [n, ...], and the evaluations of each sample: ``nfe``, or what the first batch that had others had.

    Raises:
        BnsbenchError: If the sampler returns something else than states like those that it was given.
    """
    ends, counts = Rows(len(x0)), []
    with torch.no_grad():
        for start in range(0, len(x0), batch):
            part = slice(start, start + batch)
            x = x0[part].clone()
            meter = Meter(field.part(part), x)
            try:
                # A solver may work in the same memory every time, so what it returns is copied at once.
                ends.add(states(sampler(meter.field, x), x, "states"))
            finally:
                meter.close()
            counts.append(meter.spent(nfe))
    return ends.whole(), next((count for count in counts if count != nfe), nfe)
