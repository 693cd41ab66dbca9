"""One problem, one answer: a field trained as it is told on each path, between the same noise levels.

The interval of every path is that of log-SNR REACH, and its noise is that of the others, scaled: all begin and end alike.
PSNR is that of x / alpha on test noise that all share, whose truth is as fine as the precision allows. There is a row
for each path; ``forwards`` are all of them, ground truth, starts and validation counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch

from tests.benchmarks.training.bench import Bench
from tests.benchmarks.training.sure import exact_psnr

PATHS = ("condot", "cosine", "vp", "ve", "edm")
REACH = (-4.3, 4.5)
"""Log-SNR where the interval begins and ends: the end of VP, and short of every path's own ends."""


def row(bench: Bench, nfe: int, iterations: int) -> Iterator[dict[str, Any]]:
    """Yield a row for every path of the field."""
    del iterations
    for path in PATHS:
        told = Bench(f"{bench.model}[path={path}]:{bench.guidance:g}", bench.seed, bench.output, bench.work)
        told.source = replace(told.source, name=bench.model)  # which decides on the noise
        model = told.source.model
        begin, end = model.path.time(torch.tensor(REACH, dtype=torch.float64)).tolist()
        model.interval = begin, end
        made = told.trained("bns", nfe)
        # Where a little noise is left, states are of another size on every path.
        decibels = 20 * float(torch.log10(torch.as_tensor(model.path.alpha(end))))
        yield told.row(
            nfe,
            psnr=exact_psnr(told, made) + decibels,
            forwards=sum(made.training["forwards"].values()),
            truth_forwards=made.training["forwards"]["teacher"],
            pairs=made.training["pairs"],
            start=made.training["start"]["name"],
        )
