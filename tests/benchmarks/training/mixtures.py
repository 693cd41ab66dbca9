"""One solver for several guidance scales: bns trained on w = 0, 2 and 6 at once against specialists, at each scale.

The field's own scale does not matter; a row is written for every scale at which the solvers are tested.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from bnsbench.truth.mixed_source import MixedSource
from tests.benchmarks.training.bench import Bench, evaluations

SCALES = (0.0, 2.0, 6.0)


def row(bench: Bench, nfe: int, iterations: int) -> Iterator[dict[str, Any]]:
    """Yield a row for every scale at which the solvers are tested."""
    del iterations
    sources = {w: replace(bench.source, guidance=w) for w in SCALES}
    solvers = {
        f"trained_at_{w:g}": bench.trained("bns", nfe, bench.work / f"w{w:g}" / f"bns_nfe{nfe}.json", sources[w])
        for w in SCALES
    }
    mixed = MixedSource.of(bench.source, SCALES)
    solvers["trained_on_all"] = bench.trained("bns", nfe, bench.work / "mixture" / f"bns_nfe{nfe}.json", mixed)
    cost = evaluations(solvers["trained_on_all"]) / sum(evaluations(solvers[f"trained_at_{w:g}"]) for w in SCALES)
    for w, source in sources.items():
        found = {name: bench.psnr(solver, source) for name, solver in solvers.items()}
        lost = found[f"trained_at_{w:g}"] - found["trained_on_all"]
        yield {**bench.row(nfe, **found, lost_by_mixture=lost, share_of_cost=cost), "guidance": w}
