"""From a selected solver and a source of pairs to a trained solver."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from bnsbench.contract import PluginHost, Selection
from bnsbench.contract.returned import finite, finite_or_none, kind_of, mapping, text, whole, wrong_value
from bnsbench.contract.sources import BUILTIN
from bnsbench.contract.specs import Scalar, SolverSpec
from bnsbench.errors import BnsbenchError, UsageError, one_line, printable
from bnsbench.flows.model import Model
from bnsbench.nonstationary.artefact import SolverArtefact
from bnsbench.nonstationary.table import NonStationarySolver
from bnsbench.process.surroundings import guarded
from bnsbench.storage.plain_data import as_plain_data
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
        if selection.spec.kind == "distilled":
            raise UsageError(
                f"The solver {name!r} is a network of its own; a learned one starts from a classic solver or a file."
            )
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
        shown=features_of(source.model, shown=True),
    )


def with_options(solver: Selection[SolverSpec], options: Mapping[str, Scalar]) -> Selection[SolverSpec]:
    """Return the selection of the same solver with other values for some of its parameters."""
    return replace(solver, parameters={**solver.parameters, **options})


def features_of(model: Model, shown: bool = False) -> Features | None:
    """Return the features of a model's end states, by which tables can be trained; None if the model brings none.

    shown: whether pictures are clamped to their range first, as they are before metrics look at them.
    """
    own = model.features()
    if own is None:
        return None

    def decode(states: Tensor) -> Tensor:
        decoded = model.decode(states)
        decoded = decoded.clamp(-1.0, 1.0) if shown and decoded.ndim == 4 else decoded
        # Extractors of sound hear its channels averaged.
        return decoded.mean(dim=1) if model.sample_rate is not None and decoded.ndim == 3 else decoded

    def features(states: Tensor) -> Tensor:
        # Decoder and extractor work where the model lies, which need not be where a training's states lie.
        there = states.to(model.device) if model.device else states
        return own.of_states(there, decode).to(states.device)

    return features


def train_solver(solver: Selection[SolverSpec], problem: Problem, nfe: int) -> SolverArtefact:
    """Train the selected solver and return it under the selector's name.

    Raises:
        BnsbenchError: If what it returns is no solver for the problem at that NFE, or its training record is none.
    """
    with guarded():
        artefact = solver.make()(problem, nfe)
    if not isinstance(artefact, SolverArtefact):
        raise BnsbenchError(f"it returned {kind_of(artefact)} instead of a SolverArtefact")
    table = artefact.solver
    if not isinstance(table, NonStationarySolver):
        raise BnsbenchError(f"it returned {kind_of(table)} instead of a table")
    if table.nfe != nfe:
        raise BnsbenchError(f"{solver.name} trained for {table.nfe} evaluations instead of {nfe}")
    _check_origin(artefact, problem.source)
    checked_training(artefact.training)
    network = problem.source.model.network_state()
    return replace(artefact, solver=table.validated(), name=solver.name, network=network)


def _check_origin(artefact: SolverArtefact, source: Source) -> None:
    """Raise BnsbenchError unless the artefact says that it was made for this source, under which it is kept."""
    model = source.model
    facts = {
        "the fingerprint": (artefact.fingerprint, model.fingerprint()),
        "the guidance": (artefact.guidance, source.guidance),
        "the path": (artefact.path, model.path),
    }
    for what, (said, meant) in facts.items():
        if said != meant:
            raise BnsbenchError(f"it returned a table with {what} of another field: {_told(said)}")
    if tuple(artefact.interval) != tuple(model.interval):
        raise BnsbenchError(f"it returned a table for the interval {artefact.interval} instead of {tuple(model.interval)}")


def _told(fact: object) -> str:
    """Return a fact for a sentence."""
    return wrong_value(fact) if isinstance(fact, str) else printable(fact)


@dataclass(frozen=True)
class Training:
    """What cells tell of a training record: forwards by purpose, seconds, PSNR in dB, the choices of a search, and sizes.

    parameters, examples: the numbers that were learned and the pairs from which, None if the record does not say so.
    """

    forwards: Mapping[str, int]
    seconds: float
    psnr: float | None
    grid: str
    rule: str
    parameters: int | None = None
    examples: int | None = None


def checked_training(record: object) -> Training:
    """Return what a training record says; BnsbenchError if it says what cannot be, such as a text as a number of forwards.

    Args:
        record: Of a `SolverArtefact`, as a trainer has made it, or read from a file.
    """
    found = mapping(record, "a training record")
    forwards = mapping(found.get("forwards", {}), "the forwards of its training")
    seconds = found.get("seconds")
    training = Training(
        {name: whole(count, f"the forwards for {name}") for name, count in forwards.items()},
        0.0 if seconds is None else finite(seconds, "the seconds of its training"),
        finite_or_none(found.get("psnr"), "the PSNR of its training"),
        text(found.get("grid") or "", "its grid"),
        text(found.get("rule") or "", "its rule"),
        _count(found.get("parameters"), "the parameters of its training"),
        _count(found.get("pairs"), "the pairs of its training"),
    )
    if training.seconds < 0:
        raise BnsbenchError(f"it returned {training.seconds:g} as the seconds of its training")
    _check_plain(found)
    return training


def _count(found: object, what: str) -> int | None:
    return None if found is None else whole(found, what)


def _check_plain(record: Mapping[str, object]) -> None:
    """Raise BnsbenchError unless the record can be written to a file."""
    try:
        json.dumps(as_plain_data(record), allow_nan=False)
    except Exception as error:
        raise BnsbenchError(f"it returned a training record that cannot be written: {one_line(error)}") from error
