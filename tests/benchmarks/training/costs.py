"""The published BNS recipe against the default trainer: final PSNR, and evaluations to the same PSNR.

Evaluations are all of them: training (a backward pass counts as two), validation and ground truth, which is counted once;
the default trainer's include all lower rungs of its ladder. Columns with "training" leave out validation and ground truth.
"classic" is the best rule on its best time grid. ``kind`` says whether the recipe ran in full (15,000 iterations).
"best" is the most that any run here found: the default continued on 2,048 pairs until three iterations gain less than
1e-4 nats.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from bnsbench.nonstationary.artefact import SolverArtefact
from bnsbench.nonstationary.table import NonStationarySolver
from bnsbench.training.optimisers.selection import psnr
from bnsbench.training.recipes.bns import rung_below
from tests.benchmarks.training.bench import TEST, Bench, evaluations


def row(bench: Bench, nfe: int, iterations: int) -> Iterator[dict[str, Any]]:
    """Yield the row of one field and NFE."""
    suffix = f"_{iterations}" if iterations else ""
    recipe = f"bns[recipe=paper{f',iterations={iterations}' if iterations else ''}]"
    paper = bench.trained(recipe, nfe, bench.folder / f"paper_nfe{nfe}{suffix}.json")
    ours = default(bench, nfe)
    thorough = bench.trained(f"bns[init={bench.folder / f'bns_nfe{nfe}.json'},pairs=2048,iterations=60,gain=0.0001]", nfe)
    # On the pairs of the default trainer's own curve, which are fewer than the published recipe validates on.
    validation = bench.source.pairs("validation", ours.training["validation_pairs"])
    target = psnr(paper.solver, validation, bench.source.model.data_range)
    to_target, to_early = reached(bench, ours, target), reached(bench, paper, paper.training["psnr"] - 0.1)
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
        paper_evaluations=in_all(bench, paper),
        paper_evaluations_to_within_01_dB=to_early,
        bns_evaluations=in_all(bench, ours),
        bns_evaluations_to_paper_psnr=to_target,
        share_of_full=None if to_target is None else to_target / in_all(bench, paper),
        share_of_early=None if to_target is None or to_early is None else to_target / to_early,
        paper_training=evaluations(paper),
        bns_training=sum(evaluations(default(bench, rung)) for rung in (nfe, *rungs_below(bench, nfe))),
        paper_teacher=teacher(bench, paper),
        bns_teacher=teacher(bench, ours),
        paper_seconds=paper.training["seconds"],
        bns_seconds=sum(default(bench, rung).training["seconds"] for rung in (*rungs_below(bench, nfe), nfe)),
    )


def default(bench: Bench, nfe: int) -> SolverArtefact:
    """Return the default trainer's solver, a result of its own."""
    for rung in (*reversed(rungs_below(bench, nfe)), nfe):
        artefact = bench.trained("bns", rung, bench.folder / f"bns_nfe{rung}.json")
    return artefact


def rungs_below(bench: Bench, nfe: int) -> list[int]:
    """Return the rungs of the ladder that the default trainer climbs first, the highest first."""
    below = rung_below(nfe, dimensions=math.prod(bench.source.model.shape))
    return [] if below is None else [below, *rungs_below(bench, below)]


def reached(bench: Bench, artefact: SolverArtefact, target: float) -> int | None:
    """Return all evaluations after which the validation PSNR first reached the target, or None if it never did.

    Every point of the curve is one check on the validation pairs; ground truth is paid at the beginning.
    """
    curve, record, nfe = artefact.training["curve"], artefact.training, artefact.solver.nfe
    found = next((index for index, point in enumerate(curve) if point["psnr"] >= target), None)
    if found is None:
        return None
    below = sum(in_all(bench, artefact, kind) for kind in ("training", "validation"))
    own = record.get("own_forwards", record["forwards"])
    below -= (own["training"] + own["validation"]) // bench.source.forwards_per_evaluation
    checks = (found + 1) * nfe * record["validation_pairs"]
    return int(below + curve[found]["evaluations"] + checks + teacher(bench, artefact))


def in_all(bench: Bench, artefact: SolverArtefact, kind: str = "") -> int:
    """Return all evaluations that a solver has cost, lower rungs included, or those of one kind."""
    forwards = artefact.training["forwards"]
    return int(forwards[kind] if kind else sum(forwards.values())) // bench.source.forwards_per_evaluation


def greedy(bench: Bench, artefact: SolverArtefact) -> float:
    """Return the PSNR of the greedy table that the default trainer started from."""
    start = NonStationarySolver.from_dict(artefact.training["start"]["table"])
    return psnr(start, bench.source.pairs("test", TEST), bench.source.model.data_range)


def teacher(bench: Bench, artefact: SolverArtefact) -> int:
    """Return the evaluations of the ground truth."""
    return int(artefact.training["forwards"]["teacher"]) // bench.source.forwards_per_evaluation
