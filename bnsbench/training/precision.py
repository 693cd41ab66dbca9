"""How well a network's own precision lets a solver do, whatever its numbers."""

from __future__ import annotations

import torch

from bnsbench.nonstationary.table import NonStationarySolver
from bnsbench.training.optimisers.rollout import run
from bnsbench.training.optimisers.selection import clamped_decibels
from bnsbench.truth.ground_truth import solve
from bnsbench.truth.noise import stream_seed
from bnsbench.truth.pairs import Pairs

COARSE = torch.finfo(torch.float32).eps
"""Units of rounding above this are worth a look."""


def precision_limit(
    table: NonStationarySolver, pairs: Pairs, dtype: torch.dtype, tolerance: float, data_range: float
) -> tuple[float, int]:
    """Return the PSNR in dB that a network computing in ``dtype`` allows this table, and the NFE of a further truth.

    Two runs from noise that differs by less than the network can tell (half a unit in the last place, at random) differ
    by nothing but rounding, and each carries half of the square of that difference. So it is with the ground truth, solved
    to ``tolerance``; both errors add up. Costs 2 n evaluations per sample and one more solve.

    Args:
        table: that is run.
        pairs: that it is run on, their truth solved to ``tolerance``.
        dtype: the network's precision.
        tolerance: of the adaptive solver.
        data_range: that the PSNR is relative to.
    """
    # Noise that is the same to the network, and no further from it than rounding.
    generator = torch.Generator().manual_seed(stream_seed("precision", table.nfe))
    draws = torch.rand(pairs.x0.shape, generator=generator, dtype=torch.float64).to(pairs.x0)
    nudged = pairs.x0 * (1 + 0.5 * torch.finfo(dtype).eps * (2 * draws - 1))
    # What rounding alone does to the table's end states, and to the true ones.
    first, second = (run(table, pairs.field, x0).end.double() for x0 in (pairs.x0, nudged))
    truth, nfe = solve(pairs.field, nudged, tolerance)
    moved = (pairs.x1 - truth).flatten(1).double()
    errors = 0.5 * (first - second).square().mean(1) + 0.5 * moved.square().mean(1)
    return float(clamped_decibels(errors, data_range).mean()), nfe
