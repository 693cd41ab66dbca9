"""The table of docs/how-to/many-machines.md on what a large comparison would cost, from plans alone: nothing is run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd

from bnsbench.api.named import open_host
from bnsbench.suite.estimate import Estimate, estimate
from bnsbench.suite.plan import Cell
from bnsbench.suite.run import RunOptions, plan_run
from bnsbench.suite.shards import Shard

ROOT = Path(__file__).parents[1]
PLANS = {"imagenet64": "dit", "text2b": "sd3"}
"""The suites in docs/how-to/plans, and the network of results/gpu that is as large as the one that each is for."""

GPUS = (1, 8, 64)


def plans() -> str:
    """Return forwards by purpose and GPU hours, in all and of the longest shard, on several numbers of GPUs."""
    head = "| suite | GPUs | forwards for samples | for ground truth | for training | GPU hours | hours of the longest |"
    rows = [row for suite, network in PLANS.items() for row in _rows(suite, _seconds(network))]
    return "\n".join([head, "| --- |" + " ---: |" * 6, *rows])


def _rows(suite: str, seconds: float) -> list[str]:
    options = RunOptions(ROOT / "docs" / "how-to" / "plans" / f"{suite}.toml")
    planned = plan_run(options, open_host([])).cells
    # For a network of another name the package has no solvers.
    cells = tuple(replace(cell, model=replace(cell.model, name="your-network")) for cell in planned)
    truth = estimate(cells).truth
    return [_row(suite, truth, [_cost(cells, Shard(index, count)) for index in range(count)], seconds) for count in GPUS]


def _cost(cells: tuple[Cell, ...], shard: Shard) -> Estimate:
    return estimate(shard.of(cells))


def _row(suite: str, truth: int, shards: list[Estimate], seconds: float) -> str:
    """Return a row; the truth is solved once by all together, since the shards share a cache."""
    sampling, training = (sum(getattr(shard, purpose) for shard in shards) for purpose in ("sampling", "training"))
    longest = truth / len(shards) + max(shard.sampling + shard.training for shard in shards)
    forwards = [f"{number / 1e6:,.1f} M" for number in (sampling, truth, training)]
    hours = [f"{number * seconds / 3600:,.1f}" for number in (sampling + truth + training, longest)]
    return f"| {suite} | {len(shards)} | " + " | ".join([*forwards, *hours]) + " |"


def _seconds(network: str) -> float:
    """Return what a forward of one sample takes in a large batch, as measured on the GPU."""
    found = pd.read_csv(ROOT / "results" / "gpu" / "large.csv").set_index("network")["batched"]
    return float(found.loc[network].iloc[0]) / 1000
