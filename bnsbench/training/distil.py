"""The whole of one training: pairs, the optimiser's way from a family's start, the best validation iterate, the record."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast, get_args

import torch
from torch import Tensor

from bnsbench.errors import UsageError
from bnsbench.nonstationary.table import NonStationarySolver
from bnsbench.training.descent import SPENT, Descent, Leg, Schedule, State
from bnsbench.training.families.parametrisation import Parametrisation
from bnsbench.training.objectives import Objective, count_features, make_objective
from bnsbench.training.optimisers.adam import Adam, AdamSettings, Loss, objective_loss
from bnsbench.training.optimisers.checkpoint import Checkpoint
from bnsbench.training.optimisers.forward_derivatives import Derivative
from bnsbench.training.optimisers.selection import IterateSelection
from bnsbench.training.precision import COARSE, precision_limit
from bnsbench.training.problem import Cost, Effort, Problem
from bnsbench.truth.noise import Split
from bnsbench.truth.pairs import Pairs

OPTIMISERS = ("gauss-newton", "adam")

CHECKS = 3
"""Validations without a gain after which Gauss-Newton stops; Adam goes to its end."""
FIRST_SLOW_ITERATIONS, FIRST_SLOW_GAIN = 2, 0.03
"""When the descent leaves the first part of the pairs, which need not be converged on."""
ROUNDS, ROUND_SLOW_ITERATIONS = 3, 2
"""How often blocks of parameters are descended over in turn, and when each is left for the next."""

NEAR_LIMIT = 7.0
"""Decibels below the limit of the network's precision from which on rounding makes up a fifth of the error or more."""
LIMIT_PAIRS = 128
"""Validation pairs on which the limit is measured."""


@dataclass(frozen=True)
class Choices:
    """What a user may choose about a training, whatever the family.

    Args:
        objective: of `bnsbench.training.objectives`.
        optimiser: "gauss-newton" or "adam".
        derivative: how Gauss-Newton differentiates the network: "backward", or "forward" and "difference" where
            backpropagation does not fit.
        pairs: to train on; 0 for the default.
        iterations: at most; 0 for the default.
        gain: nats that three iterations must gain for a descent to go on, however accurate it is; 0 for the default, which
            is content with 90 dB.
        rate: Adam's learning rate, 0 for 5e-3 (of the published recipe 5e-4).
        checkpointed: whether Adam recomputes activations.

    Raises:
        UsageError: for what is none of these.
    """

    objective: str = "log-mse"
    optimiser: str = "gauss-newton"
    derivative: str = "backward"
    pairs: int = 0
    iterations: int = 0
    gain: float = 0.0
    rate: float = 0.0
    checkpointed: bool = False

    def __post_init__(self) -> None:
        if self.optimiser not in OPTIMISERS:
            raise UsageError(f"There is no optimiser {self.optimiser!r}; choose from {', '.join(OPTIMISERS)}.")
        if self.derivative not in get_args(Derivative):
            raise UsageError(f"There is no derivative {self.derivative!r}; choose from {', '.join(get_args(Derivative))}.")
        if min(self.pairs, self.iterations, self.gain, self.rate) < 0:
            raise UsageError("Pairs, iterations, gain and rate cannot be negative.")


def distil(
    problem: Problem,
    nfe: int,
    family: Parametrisation,
    choices: Choices,
    cost: Cost,
    *,
    blocks: Sequence[Tensor] = (),
    loss: Loss | None = None,
) -> tuple[NonStationarySolver, dict[str, Any]]:
    """Return the family's best table and the training record.

    Args:
        problem: the field to train for.
        nfe: of the family's tables.
        family: what the table has to choose, and where it starts.
        choices: what the user has chosen.
        cost: what the family's start has already spent; added to.
        blocks: increasing indices of parameters to descend over in turn; all at once if empty.
        loss: of the parameters, in place of the objective's own, for Adam; the objective still selects.

    Raises:
        UsageError: for choices that do not go together.
        DivergedError: if no table gives finite samples.
    """
    by_adam = choices.optimiser == "adam" or loss is not None
    objective = make_objective(choices.objective, count_features(problem.features, cost))
    _require_gauss_newton(by_adam, objective, blocks, choices)
    # The pairs, with their trajectories where objective or loss look at the way.
    along = loss is not None or objective.whole
    count = choices.pairs or problem.effort.pairs
    train = _pairs(problem, "train", count, along, cost)
    validation = _pairs(problem, "validation", problem.effort.validation_for(count), along, cost)
    # The descent, which a saved state shortens.
    gain = choices.gain or IterateSelection.smallest_gain
    selection = IterateSelection(problem, objective, validation, nfe, cost, patience=CHECKS, smallest_gain=gain)
    checkpoint = Checkpoint(problem.checkpoint)
    if by_adam:
        chosen = loss or objective_loss(family, objective, choices.checkpointed)
        stopped, rejected = _by_adam(family, chosen, train, choices, selection, checkpoint), 0
    else:
        legs = make_legs(train, choices, problem.effort, blocks)
        stopped, rejected = _by_gauss_newton(family, legs, choices, selection, checkpoint)
    checkpoint.remove()
    # The best table so far, and how it was found.
    table = selection.result()
    limit = _precision(problem, table, selection)
    record = {
        "family": type(family).__name__,
        "parameters": len(family.start()),
        "objective": choices.objective,
        "optimiser": choices.optimiser,
        "derivative": choices.derivative,
        "pairs": count,
        "validation_pairs": len(validation),
        "tolerance": problem.source.truth_tolerance,
        "psnr": selection.best_psnr,
        "loss": selection.best_loss,
        "stopped": stopped,
        "rejected": rejected,
        **cost.record(problem.source),
        "curve": selection.curve.points,
    }
    return table, {**record, **limit}


def make_legs(train: Pairs, choices: Choices, effort: Effort, blocks: Sequence[Tensor] = ()) -> list[Leg]:
    """Return the legs of a Gauss-Newton descent: on a part of the pairs first, or over blocks of parameters in turn."""
    most, gain = choices.iterations or Schedule.iterations, choices.gain or Schedule.slow_gain
    count = len(train)
    if blocks:
        schedule = Schedule(most, ROUND_SLOW_ITERATIONS, gain)
        return [Leg(train.part(slice(count)), block, schedule) for _ in range(ROUNDS) for block in blocks if len(block)]
    legs = [Leg(train.part(slice(count)), None, Schedule(most, slow_gain=gain))]
    if count >= effort.first_least:
        first = Schedule(most, FIRST_SLOW_ITERATIONS, FIRST_SLOW_GAIN)
        legs.insert(0, Leg(train.part(slice(count // effort.first_share)), None, first))
    return legs


def _require_gauss_newton(by_adam: bool, objective: Objective, blocks: Sequence[Tensor], choices: Choices) -> None:
    if choices.optimiser == "adam" and blocks:
        raise UsageError("Parameters can be trained in turn by the optimiser gauss-newton only.")
    if by_adam and objective.soft:
        raise UsageError("The soft teacher is offered with the optimiser gauss-newton.")


def _pairs(problem: Problem, split: Split, count: int, along: bool, cost: Cost) -> Pairs:
    source = problem.source
    found = source.trajectories(split, count) if along else source.pairs(split, count)
    cost.truth(f"{split}, {'trajectories' if along else 'ends'}", found)
    return found


def _by_adam(
    family: Parametrisation, loss: Loss, train: Pairs, choices: Choices, selection: IterateSelection, checkpoint: Checkpoint
) -> str:
    """Descend by Adam to the end; return why it ended."""
    settings = AdamSettings(choices.iterations or AdamSettings.iterations, rate=choices.rate or AdamSettings.rate)
    # A backward pass counts as two evaluations, and activations that are recomputed as one more.
    evaluations = selection.nfe * (4 if choices.checkpointed else 3)
    seed = selection.problem.source.seed
    Adam(family, loss, train, selection, settings, seed=seed, evaluations=evaluations).minimise(checkpoint)
    return SPENT


def _by_gauss_newton(
    family: Parametrisation, legs: Sequence[Leg], choices: Choices, selection: IterateSelection, checkpoint: Checkpoint
) -> tuple[str, int]:
    """Descend by Gauss-Newton, from the saved state if there is one; return why it ended, and the trials rejected."""
    problem = selection.problem
    descent = Descent(
        family=family,
        objective=selection.objective,
        legs=legs,
        selection=selection,
        enough=math.inf if choices.gain else problem.effort.enough,
        seed=problem.source.seed,
        derivative=cast("Derivative", choices.derivative),
        precision=problem.source.model.dtype,
    )
    saved = checkpoint.load()
    state = None if saved is None else State.from_dict(saved)
    if saved is not None and state is not None:
        selection.restore(saved["selection"])
    end = start = state or State(family.start())
    for end in descent.steps(start):
        checkpoint.save({**end.to_dict(), "selection": selection.state()})
    return descent.why_stopped(end), end.rejected


def _precision(problem: Problem, table: NonStationarySolver, selection: IterateSelection) -> dict[str, Any]:
    """Return what the network's precision allows, for networks below float32."""
    model = problem.source.model
    if torch.finfo(model.dtype).eps <= COARSE:
        return {}
    pairs, tolerance = selection.pairs.part(slice(LIMIT_PAIRS)), problem.source.truth_tolerance
    limit, nfe = precision_limit(table, pairs, model.dtype, tolerance, model.data_range)
    selection.cost.truths[f"precision, {table.nfe} NFE"] = nfe * len(pairs)
    selection.cost.validation += 2 * table.nfe * len(pairs)
    found: dict[str, Any] = {"precision_limit": limit}
    if selection.best_psnr > limit - NEAR_LIMIT:
        kind = str(model.dtype).removeprefix("torch.")
        found["stopped"] = f"the network's {kind} arithmetic, which allows {limit:.1f} dB at most, is the limit"
    return found
