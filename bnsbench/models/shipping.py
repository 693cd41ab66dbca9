"""Training and tuning the solvers that the package ships: those of its own models on which that takes long."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from bnsbench.contract import PluginHost
from bnsbench.contract.sources import BUILTIN
from bnsbench.models.recipe import recipe_modules
from bnsbench.models.shipped import Shipment, shipped_file, shipped_solver
from bnsbench.nonstationary.artefact import SolverArtefact
from bnsbench.training.problem import TrainingStatus
from bnsbench.training.trainer import make_problem, train_solver
from bnsbench.truth.pairs import PairSource

LEARNED = "bns"
CLASSICS = ("midpoint", "unipc", "ipndm[order=2]")
TUNED = ("tuned", *(f"{name[:-1]},grid=best]" if name.endswith("]") else f"{name}[grid=best]" for name in CLASSICS))
PAIRS = 128
"""To train on: with the trainer before this one, a quarter of a decibel less than on 1,024, at a fifth of the cost."""
TOLERANCE = 1e-4
SEED = 0


SHIPMENTS: tuple[Shipment, ...] = tuple(
    shipment for module in recipe_modules() for shipment in getattr(module, "SHIPMENTS", ())
)
"""All shipments: the ``SHIPMENTS`` of every data set's recipes, if it has any."""


def ship(
    shipment: Shipment,
    host: PluginHost,
    folder: Path,
    cache: Path,
    stage: Callable[[str], None],
    progress: Callable[[TrainingStatus], None],
) -> Iterator[Path]:
    """Make the solvers of a shipment and yield their files; those in the folder for the same weights and version are kept.

    An interrupted training goes on where it was.

    Args:
        shipment: The model, guidance scale and NFE.
        host: The plugins.
        folder: Where shipped solvers are.
        cache: A folder for ground truth.
        stage: Called with what is being done.
        progress: Called with the state of a training.
    """
    selection = host.model(host.settled("model", shipment.model, BUILTIN))
    source = PairSource(
        selection.make(),
        selection.canonical,
        shipment.guidance,
        SEED,
        TOLERANCE,
        cache=cache / "pairs",
        progress=stage,
    )

    def solver(name: str, nfe: int) -> SolverArtefact:
        version = host.solver(host.settled("solver", name, BUILTIN)).spec.version
        there = shipped_solver(selection.name, source.model, shipment.guidance, name, nfe, version, folder)
        if there is not None:
            return there
        file = shipped_file(selection.name, shipment.guidance, name, nfe, folder)
        problem = make_problem(
            source, host, previous=partial(solver, name), progress=progress, checkpoint=file.with_suffix(".pt")
        )
        maker = host.solver(host.settled("solver", f"{name}[pairs={PAIRS}]" if name == LEARNED else name, BUILTIN))
        trained = train_solver(maker, problem, nfe)
        made = replace(trained, name=name, training={"version": version, **trained.training})
        made.save(file)
        return made

    for name in (*TUNED, LEARNED):
        chosen = host.solver(host.settled("solver", name, BUILTIN))
        canonical, budgets = chosen.canonical, chosen.spec.budgets
        for nfe in (nfe for nfe in shipment.nfe if budgets.reason_against(nfe) is None):
            solver(canonical, nfe)
            yield shipped_file(selection.name, shipment.guidance, canonical, nfe, folder)
