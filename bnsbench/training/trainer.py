"""From a selected solver and a source of pairs to a trained solver."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from bnsbench.contract import PluginHost, Selection
from bnsbench.contract.sources import BUILTIN
from bnsbench.contract.specs import Scalar, SolverSpec
from bnsbench.errors import BnsbenchError, UsageError
from bnsbench.flows.model import Model
from bnsbench.nonstationary.artefact import SolverArtefact
from bnsbench.training.problem import Classic, Effort, Features, Problem, TrainingStatus, effort_in
from bnsbench.training.tuning.classics import classic_of
from bnsbench.truth.source import Source


def make_problem(
    source: Source,
    host: PluginHost,
    *,
    previous: Callable[[int], SolverArtefact],
    progress: Callable[[TrainingStatus], None],
    checkpoint: Path,
    provider: str = BUILTIN,
    variant: Callable[[int, Mapping[str, Scalar]], SolverArtefact] | None = None,
    effort: Effort | None = None,
    notice: Callable[[str], None] | None = None,
) -> Problem:
    """Return the problem of training for a source, with the host's classic solvers and the model's features at hand.

    provider: of the solver to be trained; where several plugins offer a classic that it names, it means its own.
    effort: how far the training goes, the default one if None. notice: hears what the user should read.
    """

    def classic(name: str) -> Classic:
        selection = host.solver(host.settled("solver", name, provider))
        if selection.spec.trained:
            raise UsageError(f"The solver {name!r} is itself trained; a learned one starts from a classic solver or a file.")
        return classic_of(selection)

    return Problem(
        source,
        previous,
        progress,
        classic,
        features_of(source.model),
        checkpoint,
        effort=effort or effort_in(source.model.shape),
        variant=variant,
        notice=notice,
    )


def with_options(solver: Selection[SolverSpec], options: Mapping[str, Scalar]) -> Selection[SolverSpec]:
    """Return the selection of the same solver with other values for some of its parameters."""
    return replace(solver, parameters={**solver.parameters, **options})


def features_of(model: Model) -> Features | None:
    """Return the features of a model's end states, by which tables can be trained; None if the model brings none."""
    own = model.features()
    if own is None:
        return None

    def decode(states: Tensor) -> Tensor:
        decoded = model.decode(states)
        # Extractors of sound hear its channels averaged.
        return decoded.mean(dim=1) if model.sample_rate is not None and decoded.ndim == 3 else decoded

    def features(states: Tensor) -> Tensor:
        # Decoder and extractor work where the model lies, which need not be where a training's states lie.
        there = states.to(model.device) if model.device else states
        return own.of_states(there, decode).to(states.device)

    return features


def train_solver(solver: Selection[SolverSpec], problem: Problem, nfe: int) -> SolverArtefact:
    """Train the selected solver and return it under the selector's name; BnsbenchError if it has another NFE."""
    artefact: SolverArtefact = solver.make()(problem, nfe)
    if artefact.solver.nfe != nfe:
        raise BnsbenchError(f"{solver.name} trained for {artefact.solver.nfe} evaluations instead of {nfe}")
    return replace(artefact, name=solver.name)
