"""What solvers are trained for: PSNR and Frechet distance to the ground truth, for bns under several objectives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from bnsbench.metrics.base import SampleSet
from bnsbench.nonstationary.artefact import SolverArtefact
from tests.benchmarks.training.bench import Bench

SAMPLES = 2000
OBJECTIVES = ("log-mse", "mse", "features")


def row(bench: Bench, nfe: int, iterations: int) -> Iterator[dict[str, Any]]:
    """Yield the row of one field and NFE."""
    del iterations
    figures: dict[str, float] = {}
    for objective in OBJECTIVES:
        artefact = bench.trained(f"bns[objective={objective}]", nfe)
        figures |= {f"psnr {objective}": bench.psnr(artefact), f"fid-gt {objective}": frechet(bench, artefact)}
    yield bench.row(nfe, **figures)


def frechet(bench: Bench, artefact: SolverArtefact) -> float:
    """Return the Frechet distance of samples to the ground-truth samples of the same noise."""
    pairs, model = bench.source.pairs("test", SAMPLES), bench.source.model
    with torch.no_grad():
        x = artefact.solver(pairs.field, pairs.x0)
    condition = pairs.field.condition
    samples = SampleSet(x, pairs.x1, condition, model.data_range, model)
    return float(bench.host.metric("fid-gt").make()(samples).value)
