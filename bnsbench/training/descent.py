"""The trainer of every learned solver: a family, an objective and an optimiser, the best validation iterate kept."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast, get_args

import torch
from torch import Tensor

from bnsbench.errors import UsageError
from bnsbench.nonstationary.artefact import SolverArtefact
from bnsbench.training.families.parametrisation import Block, Parametrisation
from bnsbench.training.families.table import Table
from bnsbench.training.objectives import Objective, counted, make_objective, soft_radius
from bnsbench.training.optimisers.adam import Adam, AdamSettings, Loss, objective_loss
from bnsbench.training.optimisers.checkpoint import Checkpoint
from bnsbench.training.optimisers.forward_derivatives import Derivative
from bnsbench.training.optimisers.gauss_newton import GaussNewton, Iterate, Schedule
from bnsbench.training.optimisers.selection import Selection
from bnsbench.training.optimisers.soft_teacher import EVALUATIONS, relaxed
from bnsbench.training.precision import COARSE, precision_limit
from bnsbench.training.problem import Cost, Problem
from bnsbench.truth.noise import Split
from bnsbench.truth.pairs import Pairs

VALIDATION, LEAST_VALIDATION = 1024, 256
"""Pairs to validate on: as many as there are to train on, within these bounds."""
OPTIMISERS = ("gauss-newton", "adam")

PAIRS = 512
"""To train on, about as many as the paper's 520: half of them lose less than 0.1 dB, and twice as many gain a few
hundredths."""
FIRST_SHARE, FIRST_LEAST = 8, 512
"""The descent begins on an eighth of the pairs, where most of the way is as good and costs an eighth, if there are this
many pairs; it leaves them at this schedule's end."""
FIRST = Schedule(patience=2, smallest_gain=0.03)

NEAR_LIMIT = 7.0
"""Decibels below the limit of the network's precision from which on rounding makes up a fifth of the error or more."""

LIMIT_PAIRS = 128
"""Validation pairs on which the limit is measured."""

ENOUGH = 90.0
"""PSNR in dB on the validation pairs from which on a training ends: an error of 3e-5 of the data's range."""

IDLE = "no further gain on the validation pairs"
CONVERGED = "converged on the training pairs"
SPENT = "all iterations are spent"
ACCURATE = f"accurate to {ENOUGH:g} dB on the validation pairs"


@dataclass(frozen=True)
class Choices:
    """What a user may choose about a training, whatever the family.

    objective: of `bnsbench.training.objectives`. optimiser: "gauss-newton" or "adam". derivative: how Gauss-Newton
    differentiates the network: "backward", or "forward" and "difference" where backpropagation does not fit.
    pairs, iterations: 0 means the default. gain: nats that three iterations must gain for a descent to go on, however
    accurate it is; 0 for the default, which is content with 90 dB. rate: Adam's learning rate, 0 for 5e-3 (of the
    published recipe 5e-4). checkpointed: whether Adam recomputes activations.
    UsageError for what is none of these.
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


@dataclass(frozen=True)
class Leg:
    """A stretch of a descent: on so many pairs, over some of the parameters (None for all of them)."""

    count: int
    block: Tensor | None
    schedule: Schedule


def distil(
    problem: Problem,
    nfe: int,
    family: Parametrisation,
    choices: Choices,
    cost: Cost,
    *,
    blocks: Sequence[Tensor] = (),
    loss: Loss | None = None,
) -> tuple[Table, dict[str, Any]]:
    """Return the family's best table and the training record.

    cost: what the family's start has already spent. blocks: increasing indices of parameters to descend over in turn; all
    at once if empty. loss: of the parameters, in place of the objective's own, for Adam; the objective still selects.
    """
    descent = _Descent(problem, nfe, family, choices, cost, loss is not None)
    checkpoint = Checkpoint(problem.checkpoint)
    if choices.optimiser == "adam" and blocks:
        raise UsageError("Parameters can be trained in turn by the optimiser gauss-newton only.")
    if choices.optimiser == "adam" or loss is not None:
        descent.adam(loss, checkpoint)
    else:
        descent.newton(descent.legs(blocks), checkpoint)
    checkpoint.remove()
    table = descent.selection.result()
    limit = _precision(problem, table, descent.selection)
    return table, {**descent.record(), **limit}


class _Descent:
    """One training: its pairs, its selection and its cost, shared by the legs that it is made of."""

    def __init__(
        self, problem: Problem, nfe: int, family: Parametrisation, choices: Choices, cost: Cost, along: bool
    ) -> None:
        self.problem, self.nfe, self.family, self.choices, self.cost = problem, nfe, family, choices, cost
        self.objective: Objective = make_objective(choices.objective, counted(problem.features, cost))
        self.count = choices.pairs or PAIRS
        self.train = self._pairs("train", self.count, along)
        held_out = min(VALIDATION, max(LEAST_VALIDATION, self.count))
        validation = self._pairs("validation", held_out, along)
        gain = choices.gain or Selection.smallest_gain
        self.selection = Selection(problem, self.objective, validation, nfe, cost, patience=3, smallest_gain=gain)
        self.stopped = ""
        self.rejected = 0

    def _pairs(self, split: Split, count: int, along: bool) -> Pairs:
        source = self.problem.source
        whole = along or self.objective.whole
        found = source.trajectories(split, count) if whole else source.pairs(split, count)
        self.cost.truth(f"{split}, {'trajectories' if whole else 'ends'}", found)
        return found

    def legs(self, blocks: Sequence[Tensor]) -> list[Leg]:
        """Return the stretches of the Gauss-Newton descent."""
        most = self.choices.iterations or Schedule.iterations
        full = Schedule(iterations=most, smallest_gain=self.choices.gain or Schedule.smallest_gain)
        if blocks:
            return [Leg(self.count, block, replace(full, patience=2)) for block in (*blocks, *blocks, *blocks) if len(block)]
        first = Leg(self.count // FIRST_SHARE, None, replace(FIRST, iterations=most))
        return [*([first] if self.count >= FIRST_LEAST else []), Leg(self.count, None, full)]

    def newton(self, legs: Sequence[Leg], checkpoint: Checkpoint) -> None:
        """Descend leg by leg, from the saved state if there is one."""
        state = checkpoint.load() or {"leg": 0, "theta": self.family.start(), "done": 0}
        if "selection" in state:
            self.selection.restore(state["selection"])
        theta, done = state["theta"], state["done"]
        total = sum(leg.schedule.iterations for leg in legs)
        for number, leg in enumerate(legs):
            if number < state["leg"] or self.accurate:
                continue
            inside = state if number == state["leg"] and "damping" in state else None
            theta, done = _Stretch(self, leg, number, total).run(theta, done, inside, checkpoint)

    @property
    def accurate(self) -> bool:
        """Whether the best table so far is accurate enough for any use, unless the user has said how far to go."""
        return not self.choices.gain and self.selection.best_psnr >= ENOUGH

    def adam(self, loss: Loss | None, checkpoint: Checkpoint) -> None:
        """Descend by Adam on the objective, or on another loss of the parameters."""
        choices = self.choices
        if choices.objective.startswith("soft-"):
            raise UsageError("The soft teacher is offered with the optimiser gauss-newton.")
        settings = AdamSettings(
            iterations=choices.iterations or AdamSettings.iterations, rate=choices.rate or AdamSettings.rate
        )
        chosen = loss or objective_loss(self.family, self.objective, choices.checkpointed)
        self.selection.patience = settings.iterations
        # A backward pass counts as two evaluations, and activations that are recomputed as one more.
        evaluations = self.nfe * (4 if choices.checkpointed else 3)
        seed = self.problem.source.seed
        adam = Adam(self.family, chosen, self.train, self.selection, settings, seed=seed, evaluations=evaluations)
        adam.minimise(checkpoint)
        self.stopped = SPENT

    def record(self) -> dict[str, Any]:
        """Return what was done, JSON-like."""
        family = self.family
        return {
            "family": type(family).__name__,
            "parameters": len(family.start()),
            "objective": self.choices.objective,
            "optimiser": self.choices.optimiser,
            "derivative": self.choices.derivative,
            "pairs": self.count,
            "validation_pairs": len(self.selection.pairs),
            "tolerance": self.problem.source.truth_tolerance,
            "psnr": self.selection.best_psnr,
            "loss": self.selection.best_loss,
            "stopped": self.stopped,
            "rejected": self.rejected,
            **self.cost.record(self.problem.source),
            "curve": self.selection.curve.points,
        }


class _Stretch:
    """One leg of a Gauss-Newton descent."""

    def __init__(self, descent: _Descent, leg: Leg, number: int, total: int) -> None:
        self.descent, self.leg, self.number, self.total = descent, leg, number, total
        self.pairs = descent.train.part(slice(leg.count))
        self.noise = self.pairs.x0
        self.soft = descent.choices.objective.startswith("soft-")

    def run(self, theta: Tensor, done: int, state: dict[str, Any] | None, checkpoint: Checkpoint) -> tuple[Tensor, int]:
        """Descend from the family's parameters theta after ``done`` iterations; return both at the leg's end.

        state: what `checkpoint` kept in the middle of this leg.
        """
        descent, schedule = self.descent, self.leg.schedule
        everything = torch.arange(len(theta))
        family = Block(descent.family, theta, everything if self.leg.block is None else self.leg.block)
        newton = self._newton(family)
        if state is None:
            iterate, damping, idle, here = newton.evaluate(family.start()), schedule.damping, 0, 0
            self._check(iterate, done, damping)
            descent.selection.idle, halt = 0, descent.accurate
        else:
            damping, idle, here, halt = state["damping"], state["idle"], state["here"], state["halt"]
            descent.rejected = state["rejected"]
            self.pairs = replace(self.pairs, x0=state["noise"]) if self.soft else self.pairs
            newton = self._newton(family)
            spent = descent.cost.to_dict()
            iterate = newton.evaluate(family.start())
            descent.cost.restore(spent)  # it was paid before the interruption
            newton.rejected = 0
        while not halt and here < schedule.iterations and idle < schedule.patience:
            iterate = self._relax(newton, iterate) if self.soft else iterate
            before = iterate.loss
            iterate, damping = newton.step(iterate, done + 1, damping)
            idle = idle + 1 if before - iterate.loss < schedule.smallest_gain else 0
            here, done = here + 1, done + 1
            halt = self._check(iterate, done, damping) or descent.accurate
            kept = {"leg": self.number, "done": done, "here": here, "damping": damping, "idle": idle, "halt": halt}
            kept["rejected"] = descent.rejected + newton.rejected
            noise = {"noise": newton.pairs.x0} if self.soft else {}
            theta = family.whole(iterate.theta)
            checkpoint.save({**kept, **noise, "theta": theta, "selection": descent.selection.state()})
        ended = IDLE if halt else SPENT if idle < schedule.patience else CONVERGED
        descent.stopped = ACCURATE if descent.accurate else ended
        descent.rejected += newton.rejected
        return family.whole(iterate.theta), done

    def _newton(self, family: Parametrisation) -> GaussNewton:
        descent = self.descent
        return GaussNewton(
            family=family,
            objective=descent.objective,
            pairs=self.pairs,
            cost=descent.cost,
            seed=descent.problem.source.seed,
            schedule=self.leg.schedule,
            derivative=cast("Derivative", descent.choices.derivative),
            precision=descent.problem.source.model.dtype,
        )

    def _relax(self, newton: GaussNewton, iterate: Iterate) -> Iterate:
        descent = self.descent
        radius = soft_radius(self.noise[0].numel(), descent.nfe)
        newton.pairs = relaxed(iterate.table, descent.objective, newton.pairs, self.noise, radius)
        descent.cost.training += EVALUATIONS * descent.nfe * len(newton.pairs)
        return newton.evaluate(iterate.theta)

    def _check(self, iterate: Iterate, done: int, damping: float) -> bool:
        return self.descent.selection.check(iterate.table, "Gauss-Newton", done, self.total, damping)


def _precision(problem: Problem, table: Table, selection: Selection) -> dict[str, Any]:
    """Return what the network's precision allows, for networks below float32."""
    model = problem.source.model
    if torch.finfo(model.dtype).eps <= COARSE:
        return {}
    pairs, tolerance = selection.pairs.part(slice(LIMIT_PAIRS)), problem.source.truth_tolerance
    limit, nfe = precision_limit(table, pairs, model.dtype, tolerance, model.data_range)
    selection.cost.truths[f"precision, {table.n} NFE"] = nfe * len(pairs)
    selection.cost.validation += 2 * table.n * len(pairs)
    found: dict[str, Any] = {"precision_limit": limit}
    if selection.best_psnr > limit - NEAR_LIMIT:
        kind = str(model.dtype).removeprefix("torch.")
        found["stopped"] = f"the network's {kind} arithmetic, which allows {limit:.1f} dB at most, is the limit"
    return found


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
