"""From a selected solver and a source of pairs to a trained solver."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from bnsbench.contract import PluginHost, Selection
from bnsbench.contract.sources import BUILTIN
from bnsbench.contract.specs import SolverSpec
from bnsbench.errors import BnsbenchError, MissingPackageError, UsageError, needed_for
from bnsbench.flows.model import Model
from bnsbench.nonstationary.artefact import SolverArtefact
from bnsbench.training.classics import classic_of
from bnsbench.training.objectives import Features
from bnsbench.training.problem import Classic, Problem, TrainingStatus
from bnsbench.truth.mixed_source import Source


def make_problem(
    source: Source,
    host: PluginHost,
    *,
    previous: Callable[[int], SolverArtefact],
    progress: Callable[[TrainingStatus], None],
    checkpoint: Path,
    provider: str = BUILTIN,
) -> Problem:
    """Return the problem of training for a source, with the host's classic solvers and the model's features at hand.

    provider: of the solver to be trained; where several plugins offer a classic that it names, it means its own.
    """

    def classic(name: str) -> Classic:
        selection = host.solver(host.settled("solver", name, provider))
        if selection.spec.trained:
            raise UsageError(f"The solver {name!r} is itself trained; a learned one starts from a classic solver or a file.")
        return classic_of(selection)

    return Problem(source, previous, progress, classic, _features(source.model), checkpoint)


def _features(model: Model) -> Features | None:
    """Return the model's features if it has any; without torch-fidelity they raise MissingPackageError when used."""
    try:
        with needed_for("perceptual objectives"):
            from bnsbench.metrics.extractors import differentiable_features  # noqa: PLC0415 (other objectives do without)
    except MissingPackageError as missing:
        return _raising(missing) if model.extractor else None
    return differentiable_features(model)


def _raising(error: MissingPackageError) -> Features:
    def features(_: Tensor) -> Tensor:
        raise error

    return features


def train_solver(solver: Selection[SolverSpec], problem: Problem, nfe: int) -> SolverArtefact:
    """Train the selected solver and return it under the selector's name; BnsbenchError if it has another NFE."""
    artefact: SolverArtefact = solver.make()(problem, nfe)
    if artefact.solver.nfe != nfe:
        raise BnsbenchError(f"{solver.name} trained for {artefact.solver.nfe} evaluations instead of {nfe}")
    return replace(artefact, name=solver.name)
