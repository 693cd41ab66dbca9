"""Training the solvers that the package ships: those of its own models on which training takes long."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from bnsbench.flows.pairs import PairSource
from bnsbench.models.shipped import shipped_file, shipped_solver
from bnsbench.nonstationary.artefact import SolverArtefact
from bnsbench.plugins import PluginHost
from bnsbench.plugins.sources import BUILTIN
from bnsbench.suite.trained import make_problem, train_solver
from bnsbench.training.problem import TrainingStatus

SOLVER = "bns"
PAIRS = 128
"""To train on, and twice as many to validate on: a quarter of a decibel less than with all 1,024, at a fifth of the cost."""
TOLERANCE = 1e-4
SEED = 0


@dataclass(frozen=True)
class Shipment:
    """The NFE for which the solvers of one model under one guidance scale are shipped."""

    model: str
    guidance: float
    nfe: tuple[int, ...] = (4, 8)


SHIPMENTS = (
    *(Shipment("scenes", guidance) for guidance in (0.0, 2.0, 6.5)),
    *(Shipment("speech", guidance) for guidance in (0.0, 2.0)),
    Shipment("speech[task=infill]", 0.0),
)


def ship(
    shipment: Shipment,
    host: PluginHost,
    folder: Path,
    cache: Path,
    stage: Callable[[str], None],
    progress: Callable[[TrainingStatus], None],
) -> Iterator[Path]:
    """Train the solvers of a shipment that are not in the folder for these very weights, and yield the file of each.

    cache: folder for ground truth. stage, progress: told what is being done. An interrupted training goes on where it was.
    """
    selection = host.model(host.settled("model", shipment.model, BUILTIN))
    trainer = host.solver(host.settled("solver", f"{SOLVER}[pairs={PAIRS}]", BUILTIN))
    source = PairSource(
        selection.make(),
        selection.canonical,
        shipment.guidance,
        SEED,
        TOLERANCE,
        cache=cache / "pairs",
        progress=stage,
    )

    def solver(nfe: int) -> SolverArtefact:
        there = shipped_solver(selection.name, source.model, shipment.guidance, SOLVER, nfe, folder)
        if there is not None:
            return there
        file = shipped_file(selection.name, shipment.guidance, SOLVER, nfe, folder)
        checkpoint = file.with_suffix(".pt")
        problem = make_problem(source, host, previous=solver, progress=progress, checkpoint=checkpoint)
        made = replace(train_solver(trainer, problem, nfe), name=SOLVER)
        made.save(file)
        return made

    for nfe in shipment.nfe:
        solver(nfe)
        yield shipped_file(selection.name, shipment.guidance, SOLVER, nfe, folder)
