"""Trained solvers that come with the package, for those of its own models on which training takes long."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from bnsbench.flows.model import Model
from bnsbench.models.shipped_files import SOLVERS, shipped_file
from bnsbench.nonstationary.artefact import SolverArtefact

PRECISION = "float32"
"""In which the shipped solvers were trained whose files do not say it."""


@dataclass(frozen=True)
class Shipment:
    """The solvers of one model, by its selector, that are shipped for one guidance scale.

    nfe: their evaluations.
    pairs: to train on at most.
    tolerance: of the ground truth.
    classics: whether single classics are shipped on their best grids, besides the best of all.
    """

    model: str
    guidance: float
    nfe: tuple[int, ...] = (4, 6, 8, 12, 16, 20)
    pairs: int = 256
    tolerance: float = 1e-4
    classics: bool = True


def shipped_solver(
    name: str, model: Model, guidance: float, solver: str, nfe: int, version: str, folder: Path = SOLVERS
) -> SolverArtefact | None:
    """Return the shipped solver of a model, or None if there is none for its weights and this version of the solver.

    Its training record says that it was shipped.

    Args:
        name: The model's selector.
        model: The model, whose fingerprint has to be the solver's.
        guidance: The scale w.
        solver: The solver's selector.
        nfe: Its evaluations.
        version: Of the solver's record.
        folder: Where shipped solvers are.
    """
    file = shipped_file(name, guidance, solver, nfe, folder)
    if not file.is_file():
        return None
    artefact = SolverArtefact.load(file)
    if artefact.fingerprint != model.fingerprint() or artefact.training.get("version") != version:
        return None
    network = artefact.network if artefact.network.dtype else replace(model.network_state(), dtype=PRECISION)
    return replace(artefact, training={**artefact.training, "shipped": True}, network=network)
