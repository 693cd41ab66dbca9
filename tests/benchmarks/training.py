"""What training costs: the published BNS recipe in full against the default trainer, to the same PSNR.

    python tests/benchmarks/training.py --field digits-gmm:0 --nfe 4 --nfe 8 --output results/training

Trained solvers are kept in the output folder, so an interrupted benchmark goes on where it was; `training.csv` and
`training.md` hold the outcome. "forwards" are those of training alone (a backward pass counts as two); ground truth and
validation are in columns of their own. The default trainer's count includes the lower rungs of its ladder.
"""

from __future__ import annotations

import argparse
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from bnsbench.flows.pairs import PairSource
from bnsbench.nonstationary.artefact import SolverArtefact
from bnsbench.plugins import PluginHost
from bnsbench.suite.environment import cache_folder
from bnsbench.training.bns import rung_below, train_bns
from bnsbench.training.descent import VALIDATION
from bnsbench.training.problem import Problem, TrainingStatus
from bnsbench.training.selection import psnr
from bnsbench.training.table import Table

TEST = 1024


def main() -> None:
    """Run the benchmark for every field and NFE asked for, and write its tables."""
    options = _options()
    torch.set_num_threads(options.threads)
    rows = []
    for field in options.field:
        name, _, guidance = field.rpartition(":")
        for nfe in options.nfe:
            rows.append(compare(name, float(guidance), nfe, options.seed, options.output, options.iterations))
            _write(pd.DataFrame(rows), options.output)


def compare(model: str, guidance: float, nfe: int, seed: int, output: Path, iterations: int) -> dict[str, Any]:
    """Train by both recipes and return the row of their costs."""
    source = PairSource(PluginHost.load().model(model).make(), model, guidance, seed, cache=cache_folder() / "pairs")
    folder = output / f"{model}_w{guidance:g}_seed{seed}"

    @cache
    def default(budget: int) -> SolverArtefact:
        return kept(folder / f"bns_nfe{budget}.json", lambda: train_bns(problem(source, previous=default), budget))

    suffix = f"_{iterations}" if iterations else ""
    paper = kept(
        folder / f"paper_nfe{nfe}{suffix}.json",
        lambda: train_bns(
            problem(source, checkpoint=folder / f"paper_nfe{nfe}{suffix}.pt"), nfe, recipe="paper", iterations=iterations
        ),
    )
    ours, test = default(nfe), source.pairs("test", TEST)
    below = _ladder_cost(nfe, default)
    # On the pairs of the default trainer's own curve, which are fewer than the published recipe validates on.
    target = psnr(Table.of(paper.solver), source.pairs("validation", VALIDATION), source.model.data_range)
    reached = _first(ours, target, below)
    final = _total(paper)
    early = _first(paper, paper.training["psnr"] - 0.1, 0)
    return {
        "model": model,
        "guidance": guidance,
        "nfe": nfe,
        "seed": seed,
        "paper_iterations": paper.training["iterations"],
        "paper_psnr": psnr(Table.of(paper.solver), test, source.model.data_range),
        "bns_psnr": psnr(Table.of(ours.solver), test, source.model.data_range),
        "paper_evaluations": final,
        "bns_evaluations_to_paper_psnr": reached,
        "share_of_full": None if reached is None else reached / final,
        "paper_evaluations_to_within_0.1_dB": early,
        "share_of_early": None if reached is None or early is None else reached / early,
        "paper_teacher": paper.training["forwards"]["teacher"],
        "bns_teacher": ours.training["forwards"]["teacher"],
        "paper_seconds": paper.training["seconds"],
        "bns_seconds": ours.training["seconds"],
    }


def problem(source: PairSource, **more: Any) -> Problem:
    """Return the problem with progress on standard error."""
    return Problem(source, progress=_print, **more)


def kept(file: Path, train: Any) -> SolverArtefact:
    """Return the artefact in the file, trained now if it is not there."""
    if not file.exists():
        train().save(file)
    return SolverArtefact.load(file)


def _total(artefact: SolverArtefact) -> int:
    return int(artefact.training["curve"][-1]["evaluations"])


def _ladder_cost(nfe: int, default: Any) -> int:
    """Evaluations that the rungs below ``nfe`` took."""
    total, rung = 0, rung_below(nfe)
    while rung is not None:
        total += _total(default(rung))
        rung = rung_below(rung)
    return total


def _first(artefact: SolverArtefact, target: float, before: int) -> int | None:
    """Evaluations after which the validation PSNR first reached the target, or None if it never did."""
    return next((before + point["evaluations"] for point in artefact.training["curve"] if point["psnr"] >= target), None)


def _print(status: TrainingStatus) -> None:
    sys.stderr.write(f"\r{status.nfe} NFE {status.stage} {status.iteration}/{status.total}: {status.psnr:.2f} dB   ")
    sys.stderr.flush()


def _write(frame: pd.DataFrame, output: Path) -> None:
    output.mkdir(parents=True, exist_ok=True)
    file = output / "training.csv"
    if file.exists():
        keys = ["model", "guidance", "nfe", "seed", "paper_iterations"]
        frame = pd.concat([pd.read_csv(file), frame]).drop_duplicates(keys, keep="last").sort_values(keys)
    frame.to_csv(file, index=False, float_format="%.6g")
    (output / "training.md").write_text(frame.to_markdown(index=False, floatfmt=".4g") + "\n", encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--field", action="append", required=True, metavar="MODEL:W", help="such as digits-ot:2")
    parser.add_argument("--nfe", action="append", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--iterations", type=int, default=0, help="of the paper's recipe; 0 is all of its 15,000")
    parser.add_argument("--output", type=Path, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
