"""The published recipe with Adam at its best learning rate, so that methods are compared and not one learning rate.

Every rate of RATES runs for the same iterations, a fifth of the recipe's unless told otherwise; the best by validation PSNR
is the row. Evaluations are all of them: training, validation and ground truth, those of lower rungs included for the
default trainer.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bnsbench.nonstationary.artefact import SolverArtefact
from bnsbench.training.optimisers.selection import psnr
from tests.benchmarks.training.bench import Bench
from tests.benchmarks.training.costs import default, in_all, reached

RATES = (5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2)
ITERATIONS = 3000


def row(bench: Bench, nfe: int, iterations: int) -> Iterator[dict[str, Any]]:
    """Yield the row of one field and NFE."""
    count = iterations or ITERATIONS
    trained: dict[float, SolverArtefact] = {
        rate: bench.trained(f"bns[recipe=paper,iterations={count},rate={rate}]", nfe) for rate in RATES
    }
    rate = max(trained, key=lambda key: trained[key].training["psnr"])
    best, ours = trained[rate], default(bench, nfe)
    pairs = bench.source.pairs("validation", ours.training["validation_pairs"])
    target = psnr(best.solver, pairs, bench.source.model.data_range)
    spent, ours_spent = in_all(bench, best), reached(bench, ours, target)
    yield bench.row(
        nfe,
        iterations=count,
        rate=rate,
        adam_psnr=bench.psnr(best),
        bns_psnr=bench.psnr(ours),
        adam_evaluations=spent,
        bns_evaluations=in_all(bench, ours),
        bns_evaluations_to_adam_psnr=ours_spent,
        share=None if ours_spent is None else ours_spent / spent,
        psnr_by_rate=" ".join(f"{key:g}:{bench.psnr(made):.2f}" for key, made in trained.items()),
    )
