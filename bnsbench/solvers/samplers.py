"""From the selection of a classic or direct solver to what samples: a table wherever there is one."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from bnsbench.contract import Selection
from bnsbench.contract.specs import SolverSpec
from bnsbench.flows.fields import VelocityField
from bnsbench.flows.paths import Path
from bnsbench.nonstationary.table import NonStationarySolver
from bnsbench.nonstationary.tracing import trace

Sampler = Callable[[VelocityField, Tensor], Tensor]
"""Takes a field and initial states, and returns end states of the same shape."""


def sampler_of(
    selection: Selection[SolverSpec], nfe: int, path: Path, interval: tuple[float, float]
) -> NonStationarySolver | Sampler:
    """Return the solver's table for the path, interval and NFE, or the function itself if it runs directly.

    selection: of kind "traced" or "direct". NotApplicableError where it cannot be traced.
    """
    function = selection.make()

    def sampler(velocity: VelocityField, x0: Tensor) -> Tensor:
        x1: Tensor = function(velocity, x0, nfe)
        return x1

    return sampler if selection.spec.kind == "direct" else trace(sampler, path, interval)
