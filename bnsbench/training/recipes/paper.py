"""The published BNS recipe: Adam on the mean log MSE from a Runge-Kutta start, the best validation iterate kept.

520 pairs, 1,024 validation pairs, batches of 40, 15,000 iterations, learning rate 5e-4 with cosine decay, Euler or midpoint
start with sigma_0 preconditioning (Shaul et al. 2024, Section 3 and Algorithm 2; learning rate, batch and iteration count
are our reading of its cost table).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from bnsbench.flows.fields import BatchField
from bnsbench.flows.paths import Preconditioned
from bnsbench.flows.scale_time import ScaleTimeField, scale_time
from bnsbench.nonstationary.table import NonStationarySolver
from bnsbench.nonstationary.tracing import Sampler, trace
from bnsbench.solvers.runge_kutta import euler, midpoint
from bnsbench.training.families.parametrisation import FreeTable
from bnsbench.training.objectives import LOG_MSE
from bnsbench.training.optimisers.adam import Adam, AdamSettings, objective_loss
from bnsbench.training.optimisers.checkpoint import Checkpoint
from bnsbench.training.optimisers.selection import IterateSelection, psnr
from bnsbench.training.problem import Cost, Problem
from bnsbench.truth.pairs import Pairs

Rule = Callable[[BatchField, Tensor, int], Tensor]
"""A classic method: field, initial states and NFE to end states."""


@dataclass(frozen=True)
class PaperRecipe:
    """The numbers of the recipe; the defaults are the paper's."""

    pairs: int = 520
    validation_pairs: int = 1024
    batch: int = 40
    iterations: int = 15_000
    learning_rate: float = 5e-4
    check_every: int = 250
    sigma_0: tuple[float, ...] = (1.0, 2.0, 5.0, 10.0)
    smallest_gap: float = 1e-3


def train_paper(problem: Problem, nfe: int, recipe: PaperRecipe) -> tuple[NonStationarySolver, dict[str, Any]]:
    """Return the table with the best validation PSNR and the training record."""
    source, cost = problem.source, Cost()
    pairs = source.pairs("train", recipe.pairs)
    validation = source.pairs("validation", recipe.validation_pairs)
    cost.truth("train, ends", pairs)
    cost.truth("validation, ends", validation)
    start, name = _start(problem, nfe, recipe, pairs, cost)
    selection = IterateSelection(problem, LOG_MSE, validation, nfe, cost, patience=recipe.iterations)
    settings = AdamSettings(recipe.iterations, recipe.batch, recipe.learning_rate, recipe.check_every)
    family = FreeTable(start)
    loss = objective_loss(family, LOG_MSE)
    checkpoint = Checkpoint(problem.checkpoint)
    # A backward pass counts as two evaluations.
    Adam(family, loss, pairs, selection, settings, seed=source.seed, evaluations=3 * nfe).minimise(checkpoint)
    checkpoint.remove()
    return selection.result(), {
        **asdict(recipe),
        "start": {"name": name, "table": start.to_dict()},
        "objective": LOG_MSE.name,
        "optimiser": "adam",
        "psnr": selection.best_psnr,
        **cost.record(source),
        "curve": selection.curve.points,
    }


def _start(problem: Problem, nfe: int, recipe: PaperRecipe, pairs: Pairs, cost: Cost) -> tuple[NonStationarySolver, str]:
    """Return the best of Euler and midpoint under each sigma_0, by PSNR on the training pairs."""
    model = problem.source.model
    tables: dict[str, NonStationarySolver] = {}
    for name, rule in (("euler", euler), ("midpoint", midpoint)):
        if rule is midpoint and nfe % 2:
            continue
        for sigma_0 in recipe.sigma_0:
            traced = trace(precondition(rule, sigma_0, nfe), model.path, model.interval)
            tables[f"{name} sigma_0={sigma_0:g}"] = traced.with_open_gaps(recipe.smallest_gap)
    cost.training += len(tables) * nfe * len(pairs)
    best = max(tables, key=lambda name: psnr(tables[name], pairs, model.data_range))
    return tables[best], best


def precondition(rule: Rule, sigma_0: float, nfe: int) -> Sampler:
    """Return the sampler that runs ``rule`` after sigma_0 preconditioning (Shaul et al. 2024, Eq. 14).

    For high guidance: without guidance, sigma_0 above 1 does harm.
    """

    def sampler(field: BatchField, x0: Tensor) -> Tensor:
        changed = ScaleTimeField(field, Preconditioned(field.path, sigma_0))
        begin, end = changed.interval
        scale_begin = scale_time(field.path, changed.path, begin)[1]
        scale_end = scale_time(field.path, changed.path, end)[1]
        return rule(changed, x0 * scale_begin, nfe) / scale_end

    return sampler
