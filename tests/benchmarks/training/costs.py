"""The published BNS recipe against the default trainer: final PSNR, and evaluations to the same PSNR.

Evaluations are those of training alone (a backward pass counts as two); ground truth has columns of its own. The default
trainer's count includes all lower rungs of its ladder. ``kind`` says whether the recipe ran in full (15,000 iterations).
"best" is the most that any run here found: the default continued on 2,048 pairs until three iterations gain less than
1e-4 nats.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bnsbench.nonstationary.artefact import SolverArtefact
from bnsbench.nonstationary.table import NonStationarySolver
from bnsbench.training.bns import rung_below
from bnsbench.training.descent import VALIDATION
from bnsbench.training.selection import psnr
from bnsbench.training.table import Table
from tests.benchmarks.training.bench import TEST, Bench, evaluations


def row(bench: Bench, nfe: int, iterations: int) -> Iterator[dict[str, Any]]:
    """Yield the row of one field and NFE."""
    suffix = f"_{iterations}" if iterations else ""
    recipe = f"bns[recipe=paper{f',iterations={iterations}' if iterations else ''}]"
    paper = bench.trained(recipe, nfe, bench.folder / f"paper_nfe{nfe}{suffix}.json")
    ours = default(bench, nfe)
    thorough = bench.trained(f"bns[init={bench.folder / f'bns_nfe{nfe}.json'},pairs=2048,iterations=60,gain=0.0001]", nfe)
    below = sum(evaluations(default(bench, rung)) for rung in rungs_below(nfe))
    # On the pairs of the default trainer's own curve, which are fewer than the published recipe validates on.
    data_range = bench.source.model.data_range
    target = psnr(Table.of(paper.solver), bench.source.pairs("validation", VALIDATION), data_range)
    reached = first(ours, target, below)
    early = first(paper, paper.training["psnr"] - 0.1, 0)
    classic, classic_psnr = bench.best_classic(nfe)
    found = {"paper": bench.psnr(paper), "default": bench.psnr(ours)}
    yield bench.row(
        nfe,
        kind=f"{iterations} iterations" if iterations else "full",
        classic=classic,
        classic_psnr=classic_psnr,
        greedy_psnr=greedy(bench, ours),
        paper_psnr=found["paper"],
        bns_psnr=found["default"],
        best_psnr=max(bench.psnr(thorough), *found.values()),
        paper_evaluations=evaluations(paper),
        paper_evaluations_to_within_01_dB=early,
        bns_evaluations=below + evaluations(ours),
        bns_evaluations_to_paper_psnr=reached,
        share_of_full=None if reached is None else reached / evaluations(paper),
        share_of_early=None if reached is None or early is None else reached / early,
        paper_teacher=teacher(bench, paper),
        bns_teacher=teacher(bench, ours),
        paper_seconds=paper.training["seconds"],
        bns_seconds=sum(default(bench, rung).training["seconds"] for rung in (*rungs_below(nfe), nfe)),
    )


def default(bench: Bench, nfe: int) -> SolverArtefact:
    """Return the default trainer's solver, a result of its own."""
    for rung in (*reversed(rungs_below(nfe)), nfe):
        artefact = bench.trained("bns", rung, bench.folder / f"bns_nfe{rung}.json")
    return artefact


def rungs_below(nfe: int) -> list[int]:
    """Return the rungs of the ladder that the default trainer climbs first, the highest first."""
    below = rung_below(nfe)
    return [] if below is None else [below, *rungs_below(below)]


def first(artefact: SolverArtefact, target: float, before: int) -> int | None:
    """Return the evaluations after which the validation PSNR first reached the target, or None if it never did."""
    return next((before + point["evaluations"] for point in artefact.training["curve"] if point["psnr"] >= target), None)


def greedy(bench: Bench, artefact: SolverArtefact) -> float:
    """Return the PSNR of the greedy table that the default trainer started from."""
    start = NonStationarySolver.from_dict(artefact.training["start"]["table"])
    return psnr(Table.of(start), bench.source.pairs("test", TEST), bench.source.model.data_range)


def teacher(bench: Bench, artefact: SolverArtefact) -> int:
    """Return the evaluations of the ground truth."""
    return int(artefact.training["forwards"]["teacher"]) // bench.source.forwards_per_evaluation
