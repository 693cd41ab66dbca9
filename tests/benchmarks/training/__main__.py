"""Run a benchmark of the trainers by name; see each module for what it measures.

    python -m tests.benchmarks.training costs --field digits-gmm:0 --nfe 4 --nfe 8 --output results/training

Trained solvers are kept in the working folder, so an interrupted benchmark goes on where it was; rows of earlier calls
stay in the tables unless they are measured again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from bnsbench.process.float32 import use_full_float32
from bnsbench.process.machine import cache_folder
from tests.benchmarks.training import adam, costs, ladder, memory, mixtures, objectives, pairs, paths, precision, sure
from tests.benchmarks.training.bench import Bench

TABLES = {
    "adam": adam.row,
    "costs": costs.row,
    "pairs": pairs.row,
    "objectives": objectives.row,
    "mixtures": mixtures.row,
    "ladder": ladder.row,
    "memory": memory.row,
    "precision": precision.row,
    "sure": sure.row,
    "paths": paths.row,
}


def main() -> None:
    """Measure a row for every field, NFE and seed asked for, and write the table after each."""
    options = _options()
    torch.set_num_threads(options.threads)
    use_full_float32()
    for field in options.field:
        for seed in options.seed:
            bench = Bench(field, seed, options.output, options.work, options.device)
            for nfe in options.nfe:
                for row in TABLES[options.table](bench, nfe, options.iterations):
                    bench.write(options.table, row)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("table", choices=sorted(TABLES))
    parser.add_argument("--field", action="append", required=True, metavar="MODEL:W", help="such as digits-ot:2")
    parser.add_argument("--nfe", action="append", type=int, required=True)
    parser.add_argument("--seed", action="append", type=int, default=None)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--iterations", type=int, default=0, help="of the paper's recipe; 0 is all of its 15,000")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=None, help="folder of trained solvers that are not results")
    options = parser.parse_args()
    options.seed = options.seed or [0]
    options.work = options.work or cache_folder() / "benchmarks"
    return options


if __name__ == "__main__":
    main()
