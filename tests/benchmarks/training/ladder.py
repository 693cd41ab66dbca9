"""A family over NFE as one ladder, 4, 5, 6, .., each from the grid below, against every NFE trained on its own.

A row for each NFE up to the one asked for; evaluations are those of that NFE alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.benchmarks.training.bench import Bench, evaluations

FIRST = 4


def row(bench: Bench, nfe: int, iterations: int) -> Iterator[dict[str, Any]]:
    """Yield a row for every NFE from 4 on."""
    del iterations
    for budget in range(FIRST, nfe + 1):
        ladder, alone = bench.trained("bns[ladder=every]", budget), bench.trained("bns[ladder=none]", budget)
        yield bench.row(
            budget,
            ladder_psnr=bench.psnr(ladder),
            alone_psnr=bench.psnr(alone),
            ladder_evaluations=evaluations(ladder),
            alone_evaluations=evaluations(alone),
        )
