"""The whole of one training: pairs, the optimiser's way from a family's start, the best validation iterate, the record."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast, get_args

import torch
from torch import Tensor

from bnsbench.errors import UsageError
from bnsbench.flows.paths import CANONICAL
from bnsbench.nonstationary.change_of_path import on_path
from bnsbench.nonstationary.stability import noise_gains
from bnsbench.nonstationary.table import NonStationarySolver
from bnsbench.training.allowance import Allowance
from bnsbench.training.descent import SPENT, Descent, Leg, Schedule, State
from bnsbench.training.economy import BUDGET
from bnsbench.training.families.parametrisation import Parametrisation
from bnsbench.training.objectives import Objective, count_features, make_objective
from bnsbench.training.optimisers.adam import Adam, AdamSettings, Loss, objective_loss
from bnsbench.training.optimisers.checkpoint import Checkpoint
from bnsbench.training.optimisers.derivative_choice import AUTO, recomputing, settle_derivative
from bnsbench.training.optimisers.forward_derivatives import Derivative
from bnsbench.training.optimisers.selection import IterateSelection
from bnsbench.training.precision import COARSE, precision_limit
from bnsbench.training.price import price_of
from bnsbench.training.problem import Cost, Effort, Problem
from bnsbench.training.teaching import Teaching
from bnsbench.truth.pairs import Pairs

OPTIMISERS = ("gauss-newton", "adam")
DERIVATIVES = (*get_args(Derivative), AUTO)

ROUNDS, ROUND_SLOW_ITERATIONS = 3, 2
"""How often blocks of parameters are descended over in turn, and when each is left for the next."""

LARGE_NOISE_GAIN = 10.0
"""Noise gains above this are told; those of classic rules and of tables for networks stay below 2, as measured."""
NEAR_LIMIT = 7.0
"""Decibels below the limit of the network's precision from which on rounding makes up a fifth of the error or more."""
LIMIT_PAIRS = 64
"""Validation pairs on which the limit is measured."""


@dataclass(frozen=True)
class Choices:
    """What a user may choose about a training, whatever the family.

    Args:
        objective: of `bnsbench.training.objectives`.
        optimiser: "gauss-newton" or "adam".
        derivative: how Gauss-Newton differentiates the network: "backward", or "forward" and "difference" where
            backpropagation does not fit; "auto" for the first of them that works for one sample.
        pairs: to train on at last; 0 for as many as still gain something (see `Effort`).
        iterations: at most; 0 for the default.
        gain: nats that iterations must gain for a descent to go on, however accurate it is; 0 for the default, which is
            content with 90 dB.
        floor: share of the median error below which a sample's error counts no more, of logarithmic objectives: the
            nearer to 0, the more the mean of decibels counts, and the nearer to 1, the mean squared error.
        rate: Adam's learning rate, 0 for 5e-3 (of the published recipe 5e-4).
        checkpointed: whether activations are computed once more on the way back: by Adam, or inside the network, which
            has to be able to, where Gauss-Newton goes back through one evaluation at a time.

    Raises:
        UsageError: for what is none of these.
    """

    objective: str = "log-mse"
    optimiser: str = "gauss-newton"
    derivative: str = AUTO
    pairs: int = 0
    iterations: int = 0
    gain: float = 0.0
    floor: float = 0.3
    rate: float = 0.0
    checkpointed: bool = False

    @property
    def recomputed(self) -> bool:
        """Whether the network itself computes activations once more, since Gauss-Newton goes back through it."""
        return self.checkpointed and self.optimiser == "gauss-newton"

    def __post_init__(self) -> None:
        if self.optimiser not in OPTIMISERS:
            raise UsageError(f"There is no optimiser {self.optimiser!r}; choose from {', '.join(OPTIMISERS)}.")
        if self.derivative not in DERIVATIVES:
            raise UsageError(f"There is no derivative {self.derivative!r}; choose from {', '.join(DERIVATIVES)}.")
        if min(self.pairs, self.iterations, self.gain, self.floor, self.rate) < 0:
            raise UsageError("Pairs, iterations, gain, floor and rate cannot be negative.")


def distil(
    problem: Problem,
    nfe: int,
    family: Parametrisation,
    choices: Choices,
    cost: Cost,
    *,
    blocks: Sequence[Tensor] = (),
    loss: Loss | None = None,
    teaching: Teaching | None = None,
    rivals: Sequence[NonStationarySolver] = (),
    steps: int = 0,
    allowance: Allowance | None = None,
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
        teaching: the truth, if the family's start has used it already; it counts where ``cost`` does.
        rivals: tables that are known already, of which the best is returned if no iterate is better.
        steps: that the family's start has taken already, on which the floor has come down.
        allowance: what may still be spent, ``cost`` counted; that of the problem's budget if None.

    Raises:
        UsageError: for choices that do not go together.
        DivergedError: if no table gives finite samples.
    """
    by_adam = choices.optimiser == "adam" or loss is not None
    objective = make_objective(choices.objective, count_features(problem.features, cost), problem.notice)
    _require_gauss_newton(by_adam, objective, blocks, choices)
    # The pairs, with their trajectories where objective or loss look at the way.
    along = loss is not None or objective.whole
    count = choices.pairs or problem.effort.pairs
    teaching = teaching or Teaching(problem, cost)
    if by_adam:
        # A budget has room for so many, whatever is asked for.
        count = count if problem.effort.budget is None else min(count, problem.effort.pairs)
        teaching.level = len(teaching.levels) - 1  # the finest, for a descent that has no legs at whose ends to look again
    validation = teaching.pairs("validation", problem.effort.validation, along)
    # The descent, which a saved state shortens.
    gain, patience = choices.gain or IterateSelection.smallest_gain, problem.effort.patience + 1
    allowance = allowance or Allowance(problem.effort.budget, cost, problem.source)
    selection = IterateSelection(problem, objective, validation, nfe, cost, patience, gain, choices.floor, allowance)
    checkpoint = Checkpoint(problem.checkpoint)
    saved = _saved(checkpoint, by_adam)
    for rival in () if saved is not None else _rivals(rivals, family, allowance):
        selection.check(rival, "start", 0, 1)
    if by_adam:
        chosen = loss or objective_loss(family, objective, choices.checkpointed)
        train = teaching.pairs("train", count, along)
        stopped = _by_adam(family, chosen, train, choices, selection, checkpoint, saved)
        found: dict[str, Any] = {"stopped": stopped, "pairs": count}
    else:
        choices = settled(choices, validation, problem, cost)
        legs = make_legs(count, choices, problem.effort, blocks)
        found = _by_gauss_newton(family, legs, teaching, along, choices, selection, checkpoint, saved, steps)
    checkpoint.remove()
    # The best table so far, and how it was found.
    table = selection.result()
    limit = _precision(problem, table, selection)
    record = {
        "family": type(family).__name__,
        "parameters": len(family.start()),
        "objective": choices.objective,
        "optimiser": choices.optimiser,
        "derivative": "backward" if by_adam else choices.derivative,
        "floor": choices.floor,
        "validation_pairs": len(validation),
        "teacher": teaching.teacher.name,
        "teacher_psnr": teaching.error(),
        "largest_noise_gain": _noise_gain(problem, table),
        "psnr": selection.best_psnr,
        "loss": selection.best_loss,
        **found,
        **cost.record(problem.source),
        "budget": allowance.record(),
        "price": _priced(selection.curve.points),
        "curve": selection.curve.points,
    }
    return table, {**record, **limit}


def _noise_gain(problem: Problem, table: NonStationarySolver) -> float:
    """Return the largest noise gain of the table's states (see `noise_gains`) on the canonical path; tell of a large one."""
    gain = float(noise_gains(on_path(table, problem.source.model.path, CANONICAL)).max())
    if gain > LARGE_NOISE_GAIN:
        problem.note(
            f"Errors of the network, such as those of rounding, move a state of this table by up to {gain:.3g} times their"
            " size: expect less of it in lower precision, or train it with more pairs or fewer evaluations."
        )
    return round(gain, 4)


def _priced(points: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return what decibels have cost and would cost, None where the curve cannot say it."""
    price = price_of(points)
    return None if price is None else price.to_dict()


def _rivals(
    known: Sequence[NonStationarySolver], family: Parametrisation, allowance: Allowance
) -> Sequence[NonStationarySolver]:
    """Return the tables to look at first; a budget may end before there is any other, so its family's start is one."""
    return known or (() if allowance.budget is None else (family.table(family.start()),))


def make_legs(count: int, choices: Choices, effort: Effort, blocks: Sequence[Tensor] = ()) -> list[Leg]:
    """Return the legs of a Gauss-Newton descent.

    Most of the way is as good on a few pairs, and costs less; a leg on more of them is left out where they would gain
    little, unless the user has asked for so many. With blocks of parameters, all pairs and the blocks in turn.

    Args:
        count: pairs at most.
        choices: what the user has chosen.
        effort: how the pairs grow.
        blocks: as of `distil`.
    """
    most, gain = choices.iterations or Schedule.iterations, choices.gain or Schedule.slow_gain
    if blocks:
        schedule = Schedule(most, ROUND_SLOW_ITERATIONS, gain)
        return [Leg(count, block, schedule) for _ in range(ROUNDS) for block in blocks if len(block)]
    parts = [part for part in effort.parts if part < count]
    schedule = Schedule(most, effort.patience, gain, max(gain, Schedule.leaving_gain))
    legs = [Leg(part, None, schedule) for part in (*parts, count)]
    least = 0.0 if choices.pairs else effort.least_excess
    return [replace(leg, least_excess=least if number else 0.0) for number, leg in enumerate(legs)]


def settled(choices: Choices, pairs: Pairs, problem: Problem, cost: Cost) -> Choices:
    """Return the choices with the derivative that is really used, and checked to be possible.

    Args:
        choices: what the user has chosen.
        pairs: on the first of which derivatives are tried, if that is left open.
        problem: whose model is differentiated.
        cost: where attempts are counted.

    Raises:
        UsageError: if activations shall be computed once more by a network that cannot.
    """
    model = problem.source.model
    if choices.recomputed:
        with recomputing(model):
            pass
    derivative = settle_derivative(choices.derivative, pairs, model.dtype, cost, choices.recomputed)
    return choices if derivative == choices.derivative else replace(choices, derivative=derivative)


def _require_gauss_newton(by_adam: bool, objective: Objective, blocks: Sequence[Tensor], choices: Choices) -> None:
    if choices.optimiser == "adam" and blocks:
        raise UsageError("Parameters can be trained in turn by the optimiser gauss-newton only.")
    if by_adam and objective.soft:
        raise UsageError("The soft teacher is offered with the optimiser gauss-newton.")


def _saved(checkpoint: Checkpoint, by_adam: bool) -> dict[str, Any] | None:
    """Return the saved state from which a descent goes on, which knows the best table so far, if there is one."""
    saved = checkpoint.load()
    return saved if saved is not None and (by_adam or State.from_dict(saved) is not None) else None


def _by_adam(
    family: Parametrisation,
    loss: Loss,
    train: Pairs,
    choices: Choices,
    selection: IterateSelection,
    checkpoint: Checkpoint,
    saved: dict[str, Any] | None,
) -> str:
    """Descend by Adam to the end; return why it ended."""
    settings = AdamSettings(choices.iterations or AdamSettings.iterations, rate=choices.rate or AdamSettings.rate)
    # A backward pass counts as two evaluations, and activations that are recomputed as one more.
    evaluations = selection.nfe * (4 if choices.checkpointed else 3)
    adam = Adam(family, loss, train, selection, settings, seed=selection.problem.source.seed, evaluations=evaluations)
    adam.minimise(checkpoint, saved)
    spent = adam.iteration < settings.iterations and selection.allowance is not None
    return BUDGET.format(selection.allowance.budget) if spent and selection.allowance is not None else SPENT


def _by_gauss_newton(
    family: Parametrisation,
    legs: Sequence[Leg],
    teaching: Teaching,
    along: bool,
    choices: Choices,
    selection: IterateSelection,
    checkpoint: Checkpoint,
    saved: dict[str, Any] | None,
    steps: int,
) -> dict[str, Any]:
    """Descend by Gauss-Newton, from the saved state if there is one; return what the record says of it."""
    problem = selection.problem
    descent = Descent(
        family=family,
        objective=selection.objective,
        legs=legs,
        teaching=teaching,
        along=along,
        selection=selection,
        floor=choices.floor,
        enough=math.inf if choices.gain or problem.effort.price else problem.effort.enough,
        seed=problem.source.seed,
        derivative=cast("Derivative", choices.derivative),
        precision=problem.source.model.dtype,
        checkpointed=choices.recomputed,
    )
    state = None if saved is None else State.from_dict(saved)
    if saved is not None and state is not None:
        teaching.level = state.level
        selection.pairs = teaching.pairs("validation", len(selection.pairs), along)
        selection.restore(saved["selection"])
    end = start = state or State(family.start(), iterations=steps)
    for end in descent.steps(start):
        checkpoint.save({**end.to_dict(), "selection": selection.state()})
    return {
        "pairs": legs[max(end.leg, 0)].pairs,
        "stopped": descent.why_stopped(end),
        "iterations": end.iterations,
        "still": end.still,
        "rejected": end.rejected,
    }


def _precision(problem: Problem, table: NonStationarySolver, selection: IterateSelection) -> dict[str, Any]:
    """Return what the network's precision allows, for networks below float32."""
    model = problem.source.model
    if torch.finfo(model.dtype).eps <= COARSE:
        return {}
    # Not on a teacher's truth, whose own error would be taken for rounding.
    pairs, tolerance = problem.source.pairs("validation", LIMIT_PAIRS), problem.source.truth_tolerance
    selection.cost.truth("validation, precision", pairs)
    limit, nfe = precision_limit(table, pairs, model.dtype, tolerance, model.data_range)
    selection.cost.truths[f"precision, {table.nfe} NFE"] = nfe * len(pairs)
    selection.cost.validation += 2 * table.nfe * len(pairs)
    found: dict[str, Any] = {"precision_limit": limit}
    if selection.best_psnr > limit - NEAR_LIMIT:
        kind = str(model.dtype).removeprefix("torch.")
        found["stopped"] = f"the network's {kind} arithmetic, which allows {limit:.1f} dB at most, is the limit"
    return found
