"""The default trainer: sketched Gauss-Newton on any family of tables, the best validation iterate kept."""

from __future__ import annotations

import time
from typing import Any

from bnsbench.flows.pairs import PairSource
from bnsbench.nonstationary.artefact import SolverArtefact
from bnsbench.training.gauss_newton import GaussNewton, Schedule
from bnsbench.training.parametrisations import Parametrisation
from bnsbench.training.problem import Cost, Problem
from bnsbench.training.selection import Selection
from bnsbench.training.table import Table

VALIDATION = 256


def pairs_for(nfe: int) -> int:
    """How many training pairs a table of that NFE is given by default."""
    return 256 if nfe <= 8 else 512


def descend(
    problem: Problem, nfe: int, family: Parametrisation, cost: Cost, pairs: int = 0, iterations: int = 0
) -> tuple[Table, dict[str, Any]]:
    """Return the family's best table and the training record.

    cost: what the family's start has already spent. pairs and iterations: 0 means the default.
    """
    source, count, most = problem.source, pairs or pairs_for(nfe), iterations or Schedule.iterations
    train, validation = source.pairs("train", count), source.pairs("validation", VALIDATION)
    cost.teacher += round(train.nfe * len(train) + validation.nfe * len(validation))
    selection = Selection(problem, validation, nfe, most, cost, patience=3)
    descent = GaussNewton(family, train, cost, source.seed, Schedule(iterations=most))
    descent.minimise(lambda iteration, it, damping: selection.check(iteration, it.table, "Gauss-Newton", damping))
    return selection.result(), {
        "pairs": count,
        "validation_pairs": VALIDATION,
        "psnr": selection.best_psnr,
        "forwards": forwards(source, cost),
        "curve": selection.curve.points,
    }


def forwards(source: PairSource, cost: Cost) -> dict[str, int]:
    """Return a cost as network forwards."""
    each = source.model.forwards_per_evaluation(source.guidance)
    return {kind: each * count for kind, count in cost.to_dict().items()}


def artefact(problem: Problem, name: str, table: Table, record: dict[str, Any], began: float) -> SolverArtefact:
    """Return the trained table with its origin; ``began`` is the `time.perf_counter` at the training's start."""
    source = problem.source
    return SolverArtefact(
        solver=table.solver(),
        path=source.model.path,
        interval=source.model.interval,
        model=source.name,
        fingerprint=source.model.fingerprint(),
        guidance=source.guidance,
        name=name,
        training={"seed": source.seed, **record, "seconds": time.perf_counter() - began},
    )
