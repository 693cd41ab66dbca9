"""What caches inside of a network are worth beside solvers, on a tiny transformer of random weights: prints a table.

python plugins/bnsbench-diffusers/tests/benchmarks/caches.py

diffusers' caches let the network sit out parts of a forward, so that their result depends on what was asked before: they are
no velocity field and no solver, and decide for a whole batch. Here each sample runs by itself through Euler's method with a
cache, and what it costs is counted in operations: those of the run, by torch's own counter, over those of one whole
forward. That is the axis on which solvers spend whole forwards.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from statistics import mean
from typing import Any

import torch
from diffusers.hooks import FirstBlockCacheConfig, TaylorSeerCacheConfig
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

import bnsbench
from bnsbench.plugin import psnr_per_sample
from bnsbench_diffusers.models.base import Options, PipelineModel
from bnsbench_diffusers.models.registry import wrap
from bnsbench_diffusers.testing.pipelines import settle
from bnsbench_diffusers.testing.videos import ltx

LAYERS, SAMPLES, NFE = 8, 8, (6, 8)
SOLVERS = ("euler", "ab2", "unipc", "taylor", "easycache")
STEPS = (8, 12, 16, 20)
THRESHOLDS = (0.01, 0.02, 0.04, 0.07, 0.12, 0.2)
LAYERS_OF_BLOCKS = [r"transformer_blocks\.\d+\.(attn1|attn2|ff)"]
"""All that a block computes but its normalisation; by default TaylorSeer takes attention alone."""

CACHES: dict[str, list[Any]] = {
    "euler, first-block cache": [FirstBlockCacheConfig(threshold) for threshold in THRESHOLDS],
    "euler, TaylorSeer": [
        TaylorSeerCacheConfig(
            every, 2, max_order=order, taylor_factors_dtype=torch.float32, cache_identifiers=LAYERS_OF_BLOCKS
        )
        for every, order in product((2, 3, 4), (0, 1))
    ],
}


def operations(run: Callable[[], Tensor]) -> tuple[Tensor, int]:
    """Return what a run returns, and how many operations it took."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        found = run()
    return found, counter.get_total_flops()


@contextmanager
def cached(network: Any, config: Any) -> Iterator[None]:
    """Let a network use one of diffusers' caches, which has seen nothing yet."""
    network.enable_cache(config)
    try:
        with network.cache_context("cond"):
            yield
    finally:
        network._reset_stateful_cache()
        network.disable_cache()


def under_cache(model: PipelineModel, config: Any, steps: int, x0: Tensor, whole: int) -> tuple[Tensor, float]:
    """Return end states of Euler's method with a cache, and its mean cost in whole forwards."""
    euler, ends, costs = bnsbench.solver("euler", nfe=steps, model=model), [], []
    for i in range(len(x0)):
        field = model.field(model.conditions(torch.tensor([i])))
        with cached(model.network, config):
            end, spent = operations(lambda: euler(field, x0[i : i + 1]))  # noqa: B023 (called at once)
        ends.append(end)
        costs.append(spent / whole)
    return torch.cat(ends), mean(costs)


def main() -> None:
    """Print the table: PSNR in dB; of caches the best setting that costs no more than so many forwards."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = wrap(settle(ltx(LAYERS)), Options(("a red fox in the snow", "two boats"), size=32, frames=5))
    field = model.field(model.conditions(torch.arange(SAMPLES)))
    x0 = torch.randn(SAMPLES, *model.shape)
    with torch.no_grad():
        truth = bnsbench.solver("rk4", nfe=400, model=model)(field, x0)
    first = model.field(model.conditions(torch.tensor([0])))  # its text has been encoded above
    _, whole = operations(lambda: first(torch.tensor(0.5), x0[:1]))

    def decibels(found: Tensor) -> float:
        return float(psnr_per_sample(found, truth, model.data_range).mean())

    lines = ["| solver | " + " | ".join(f"{nfe} forwards" for nfe in NFE) + " |", "|---" + "|---:" * len(NFE) + "|"]
    for name in SOLVERS:
        with torch.no_grad():
            cells = [f"{decibels(bnsbench.solver(name, nfe=nfe, model=model)(field, x0)):.1f}" for nfe in NFE]
        lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    for name, configs in CACHES.items():
        tried = []
        for config, steps in product(configs, STEPS):
            found, cost = under_cache(model, config, steps, x0, whole)
            tried.append((decibels(found), cost, steps))
        best = [max(each for each in tried if each[1] <= nfe) for nfe in NFE]
        cells = [f"{psnr:.1f} ({steps} steps, {cost / steps:.0%} of each)" for psnr, cost, steps in best]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    trained = [bnsbench.train(model, nfe, solver="bns[pairs=64,iterations=10]", tolerance=1e-5).solver for nfe in NFE]
    with torch.no_grad():
        lines.append("| `bns` | " + " | ".join(f"{decibels(table(field, x0)):.1f}" for table in trained) + " |")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
