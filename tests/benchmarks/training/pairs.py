"""How many pairs training needs: the default trainer on 16 to 1,024 pairs, PSNR on 1,024 unseen ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.benchmarks.training.bench import Bench

COUNTS = (16, 64, 256, 1024)


def row(bench: Bench, nfe: int, iterations: int) -> Iterator[dict[str, Any]]:
    """Yield the row of one field and NFE."""
    del iterations
    found = {f"psnr_{count}": bench.psnr(bench.trained(f"bns[pairs={count}]", nfe)) for count in COUNTS}
    yield bench.row(nfe, **found, lost_with_64=found["psnr_1024"] - found["psnr_64"])
