"""How sure a training is: the same field and NFE from several seeds, and whether anything else of ours does better.

PSNR is on test noise that all seeds share, with a truth as fine as the field's precision allows. "other" is the best of
what else was tried from that seed, with its name: a longer run from the default's own end, Adam from there, and descents
from each other start; it is measured for the first seed alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from bnsbench.nonstationary.artefact import SolverArtefact
from bnsbench.training.optimisers.selection import psnr
from tests.benchmarks.training.bench import Bench

TEST, TEST_OF_LARGE = 2048, 256
"""Test samples, and those of a field of many dimensions."""
LARGE = 1024
TOLERANCES = {"torch.float64": 1e-9, "torch.float32": 1e-6}
"""Of the test's truth, by the field's precision."""
STARTS = ("greedy", "euler", "ab2", "unipc")


def row(bench: Bench, nfe: int, iterations: int) -> Iterator[dict[str, Any]]:
    """Yield the row of one field, NFE and seed."""
    del iterations
    ours = bench.trained("bns", nfe)
    found = exact_psnr(bench, ours)
    record = ours.training
    others = {name: exact_psnr(bench, made) for name, made in others_of(bench, nfe)} if bench.seed == 0 else {}
    best = max(others, key=lambda name: others[name], default="")
    yield bench.row(
        nfe,
        psnr=found,
        other=others.get(best),
        other_name=best,
        forwards=sum(record["forwards"].values()),
        pairs=record["pairs"],
        start=record["start"]["name"],
        largest_b=float(ours.solver.b.abs().max()),
        stopped=record["stopped"],
    )


def others_of(bench: Bench, nfe: int) -> Iterator[tuple[str, SolverArtefact]]:
    """Yield what else there is to try, by name."""
    file = bench.work / f"bns_nfe{nfe}.json"
    yield "longer", bench.trained(f"bns[init={file},pairs=2048,iterations=100,gain=0.001]", nfe)
    yield "Adam", bench.trained(f"bns[init={file},optimiser=adam,pairs=512,iterations=1000,rate=0.0005]", nfe)
    for start in STARTS:
        yield start, bench.trained(f"bns[init={start},pairs=512]", nfe)


def exact_psnr(bench: Bench, artefact: SolverArtefact) -> float:
    """Return the PSNR in dB on the test noise of seed 0."""
    model = bench.source.model
    exact = replace(bench.source, seed=0, tolerance=TOLERANCES[str(model.dtype)])
    count = TEST if bench.dimensions < LARGE else TEST_OF_LARGE
    return psnr(artefact.solver, exact.pairs("test", count), model.data_range)
