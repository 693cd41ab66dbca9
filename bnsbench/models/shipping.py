"""Training and tuning the solvers that the package ships: those of its own models on which that takes long."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from bnsbench.contract import PluginHost
from bnsbench.contract.sources import BUILTIN
from bnsbench.flows.model import Model
from bnsbench.models.recipe import recipe_modules
from bnsbench.models.shipped import Shipment, shipped_solver
from bnsbench.models.shipped_files import shipped_file
from bnsbench.nonstationary.artefact import SolverArtefact
from bnsbench.training.problem import TrainingStatus, effort_in
from bnsbench.training.trainer import make_problem, train_solver
from bnsbench.truth.pairs import PairSource, pairs_device

LEARNED = "bns"
TUNED = "tuned"
CLASSICS = ("unipc[grid=best]", "ipndm[order=2,grid=best]")
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
    device: str = "cpu",
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
        device: Where the network computes: "cpu", "cuda" or "cuda:<i>".
    """
    selection = host.model(host.settled("model", shipment.model, BUILTIN))
    model: Model = selection.make()
    model = model.to(device, model.dtype)
    source = PairSource(
        model,
        selection.canonical,
        shipment.guidance,
        SEED,
        shipment.tolerance,
        cache=cache / "pairs",
        device=pairs_device(model, device),
        progress=stage,
    )
    default = effort_in(model.shape)
    effort = replace(default, pairs=min(shipment.pairs, default.pairs))

    def solver(name: str, nfe: int) -> SolverArtefact:
        version = host.solver(host.settled("solver", name, BUILTIN)).spec.version
        there = shipped_solver(selection.name, source.model, shipment.guidance, name, nfe, version, folder)
        if there is not None:
            return there
        file = shipped_file(selection.name, shipment.guidance, name, nfe, folder)
        problem = make_problem(
            source,
            host,
            previous=partial(solver, name),
            progress=progress,
            checkpoint=file.with_suffix(".pt"),
            effort=effort,
        )
        maker = host.solver(host.settled("solver", name, BUILTIN))
        trained = train_solver(maker, problem, nfe)
        made = replace(trained, name=name, training={"version": version, **trained.training})
        made.save(file)
        return made

    for name in (TUNED, *(CLASSICS if shipment.classics else ()), LEARNED):
        chosen = host.solver(host.settled("solver", name, BUILTIN))
        canonical, budgets = chosen.canonical, chosen.spec.budgets
        for nfe in (nfe for nfe in shipment.nfe if budgets.reason_against(nfe) is None):
            solver(canonical, nfe)
            yield shipped_file(selection.name, shipment.guidance, canonical, nfe, folder)
