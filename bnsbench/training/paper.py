"""The published BNS recipe: Adam on the mean log MSE from a Runge-Kutta start, the best validation iterate kept.

520 pairs, 1,024 validation pairs, batches of 40, 15,000 iterations, learning rate 5e-4 with cosine decay, Euler or midpoint
start with sigma_0 preconditioning (Shaul et al. 2024, Section 3 and Algorithm 2; learning rate, batch and iteration count
are our reading of its cost table).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path as FilePath
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
    _descend(_Adam(start, pairs, source.seed, recipe, selection), problem.checkpoint)
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


class _Adam:
    """The descent, whose whole state can be saved and taken up again."""

    def __init__(self, start: Table, pairs: Pairs, seed: int, recipe: PaperRecipe, selection: Selection) -> None:
        self.family = FreeTable(start)
        self.theta = self.family.start().requires_grad_()
        self.optimiser = torch.optim.Adam([self.theta], lr=recipe.learning_rate)
        self.decay = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimiser, recipe.iterations)
        self.generator = torch.Generator().manual_seed(stream_seed(seed, "batches", start.n))
        self.pairs, self.recipe, self.selection = pairs, recipe, selection
        self.order: list[int] = []
        self.iteration = 0

    def step(self) -> None:
        """Make one iteration, checking the table now and then."""
        batch = self._batch()
        self.optimiser.zero_grad()
        torch.autograd.backward(_log_mse(self.family.table(self.theta), batch))
        self.optimiser.step()
        self.decay.step()
        self.iteration += 1
        # A backward pass counts as two evaluations.
        self.selection.cost.training += 3 * self.selection.nfe * len(batch)
        if self.iteration % self.recipe.check_every == 0 or self.iteration == self.recipe.iterations:
            with torch.no_grad():
                self.selection.check(self.iteration, self.family.table(self.theta), "Adam")

    def state(self) -> dict[str, Any]:
        """Return everything that later iterations depend on."""
        return {
            "theta": self.theta.detach(),
            "optimiser": self.optimiser.state_dict(),
            "decay": self.decay.state_dict(),
            "generator": self.generator.get_state(),
            "order": self.order,
            "iteration": self.iteration,
            "selection": self.selection.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""
        with torch.no_grad():
            self.theta.copy_(state["theta"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.decay.load_state_dict(state["decay"])
        self.generator.set_state(state["generator"])
        self.order, self.iteration = state["order"], state["iteration"]
        self.selection.restore(state["selection"])

    def _batch(self) -> Pairs:
        if len(self.order) < self.recipe.batch:
            self.order = torch.randperm(len(self.pairs), generator=self.generator).tolist()
        chosen, self.order = self.order[: self.recipe.batch], self.order[self.recipe.batch :]
        return self.pairs.part(torch.tensor(chosen))


def _descend(adam: _Adam, checkpoint: FilePath | None) -> None:
    if checkpoint is not None and checkpoint.exists():
        adam.restore(torch.load(checkpoint, weights_only=True))
    while adam.iteration < adam.recipe.iterations:
        adam.step()
        if checkpoint is not None and adam.iteration % adam.recipe.check_every == 0:
            checkpoint.parent.mkdir(parents=True, exist_ok=True)
            temporary = checkpoint.with_suffix(f".{os.getpid()}.tmp")
            torch.save(adam.state(), temporary)
            temporary.replace(checkpoint)
    if checkpoint is not None:
        checkpoint.unlink(missing_ok=True)


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
