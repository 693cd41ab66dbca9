"""A bfloat16 network: bns trained on it, by backpropagation and by differences, against bns trained in float32."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch

from tests.benchmarks.training.bench import Bench


def row(bench: Bench, nfe: int, iterations: int) -> Iterator[dict[str, Any]]:
    """Yield the row of one field and NFE."""
    del iterations
    exact = bench.trained("bns", nfe, bench.work / "float32" / f"bns_nfe{nfe}.json")
    coarse_model = bench.host.model(bench.model).make().to("cpu", torch.bfloat16)
    coarse = replace(bench.source, model=coarse_model)
    folder = bench.work / "bfloat16"
    backward = bench.trained("bns", nfe, folder / f"bns_nfe{nfe}.json", coarse)
    selector = "bns[derivative=difference,pairs=128]"
    difference = bench.trained(selector, nfe, folder / f"difference_nfe{nfe}.json", coarse)
    yield bench.row(
        nfe,
        float32_in_float32=bench.psnr(exact),
        float32_in_bfloat16=bench.psnr(exact, coarse),
        bfloat16_in_bfloat16=bench.psnr(backward, coarse),
        differences_in_bfloat16=bench.psnr(difference, coarse),
        bfloat16_in_float32=bench.psnr(backward),
        limit=backward.training["precision_limit"],
        stopped=backward.training["stopped"],
    )
