"""The published BNS recipe: Adam on the mean log MSE from a Runge-Kutta start, the best validation iterate kept.

520 pairs, 1,024 validation pairs, batches of 40, 15,000 iterations, learning rate 5e-4 with cosine decay, Euler or midpoint
start with sigma_0 preconditioning (Shaul et al. 2024, Section 3 and Algorithm 2; learning rate, batch and iteration count
are our reading of its cost table).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from bnsbench.flows.fields import BatchField
from bnsbench.flows.noise import stream_seed
from bnsbench.flows.pairs import Pairs
from bnsbench.flows.paths import Preconditioned
from bnsbench.flows.scale_time import ScaleTimeField, scale_time
from bnsbench.nonstationary.tracing import Sampler, trace
from bnsbench.solvers.runge_kutta import euler, midpoint
from bnsbench.training.descent import forwards
from bnsbench.training.parametrisations import FreeTable
from bnsbench.training.problem import Cost, Problem
from bnsbench.training.selection import Selection, psnr
from bnsbench.training.table import Table

Rule = Callable[[BatchField, Tensor, int], Tensor]
"""A Runge-Kutta method: field, initial states and NFE to end states."""


@dataclass(frozen=True)
class PaperRecipe:
    """The numbers of the recipe; the defaults are the paper's."""

    pairs: int = 520
    validation_pairs: int = 1024
    batch: int = 40
    iterations: int = 15_000
    learning_rate: float = 5e-4
    check_every: int = 250
    sigma_0: tuple[float, ...] = (1.0, 2.0, 5.0)
    smallest_gap: float = 1e-3


def train_paper(problem: Problem, nfe: int, recipe: PaperRecipe) -> tuple[Table, dict[str, Any]]:
    """Return the table with the best validation PSNR and the training record."""
    source, cost = problem.source, Cost()
    pairs = source.pairs("train", recipe.pairs)
    validation = source.pairs("validation", recipe.validation_pairs)
    cost.teacher = round(pairs.nfe * len(pairs) + validation.nfe * len(validation))
    start, name = _start(problem, nfe, recipe, pairs, cost)
    selection = Selection(problem, validation, nfe, recipe.iterations, cost, patience=recipe.iterations)
    selection.check(0, start, "Adam")
    _descend(start, pairs, source.seed, recipe, cost, selection)
    return selection.result(), {
        **asdict(recipe),
        "start": name,
        "psnr": selection.best_psnr,
        "forwards": forwards(source, cost),
        "curve": selection.curve.points,
    }


def _start(problem: Problem, nfe: int, recipe: PaperRecipe, pairs: Pairs, cost: Cost) -> tuple[Table, str]:
    """Return the best of Euler and midpoint under each sigma_0, by PSNR on the training pairs."""
    tables: dict[str, Table] = {}
    for name, rule in (("euler", euler), ("midpoint", midpoint)):
        if rule is midpoint and nfe % 2:
            continue
        for sigma_0 in recipe.sigma_0:
            traced = trace(preconditioned(rule, sigma_0, nfe), problem.source.model.path, problem.source.model.interval)
            tables[f"{name} sigma_0={sigma_0:g}"] = Table.of(traced).opened(recipe.smallest_gap)
    data_range = problem.source.model.data_range
    cost.training += len(tables) * nfe * len(pairs)
    best = max(tables, key=lambda name: psnr(tables[name], pairs, data_range))
    return tables[best], best


def preconditioned(rule: Rule, sigma_0: float, nfe: int) -> Sampler:
    """Return the sampler that runs ``rule`` after sigma_0 preconditioning (Shaul et al. 2024, Eq. 14)."""

    def sampler(field: BatchField, x0: Tensor) -> Tensor:
        changed = ScaleTimeField(field, Preconditioned(field.path, sigma_0))
        begin, end = changed.interval
        scale_begin = scale_time(field.path, changed.path, begin)[1]
        scale_end = scale_time(field.path, changed.path, end)[1]
        return rule(changed, x0 * scale_begin, nfe) / scale_end

    return sampler


def _descend(start: Table, pairs: Pairs, seed: int, recipe: PaperRecipe, cost: Cost, selection: Selection) -> None:
    family = FreeTable(start)
    theta = family.start().requires_grad_()
    optimiser = torch.optim.Adam([theta], lr=recipe.learning_rate)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, recipe.iterations)
    generator = torch.Generator().manual_seed(stream_seed(seed, "batches", start.n))
    order: list[int] = []
    for iteration in range(1, recipe.iterations + 1):
        if len(order) < recipe.batch:
            order = torch.randperm(len(pairs), generator=generator).tolist()
        batch, order = pairs.part(torch.tensor(order[: recipe.batch])), order[recipe.batch :]
        optimiser.zero_grad()
        torch.autograd.backward(_log_mse(family.table(theta), batch))
        optimiser.step()
        decay.step()
        cost.training += 3 * start.n * len(batch)
        if iteration % recipe.check_every == 0 or iteration == recipe.iterations:
            with torch.no_grad():
                selection.check(iteration, family.table(theta), "Adam")


def _log_mse(table: Table, pairs: Pairs) -> Tensor:
    """Return the mean over samples of log MSE, differentiable in the table (Shaul et al. 2024, Eq. 13)."""
    states = [pairs.x0.flatten(1)]
    x = pairs.x0
    rows = table.rows.to(x)
    for i, t in enumerate(table.times[:-1]):
        states.append(pairs.field(t, x).flatten(1))
        flat = sum(weight * state for weight, state in zip(rows[i], states, strict=False))
        x = torch.as_tensor(flat).reshape(pairs.x0.shape)
    errors = (x - pairs.x1).flatten(1).square().mean(1)
    return errors.clamp_min(1e-28).log().mean()
