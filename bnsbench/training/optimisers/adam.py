"""Adam on any family and loss: the optimiser of the published recipes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from bnsbench.nonstationary.table import NonStationarySolver
from bnsbench.process.parts import DoesNotFitError, is_out_of_memory
from bnsbench.process.ranks import team
from bnsbench.training.families.parametrisation import Parametrisation, entries, with_entries
from bnsbench.training.objectives import Objective
from bnsbench.training.optimisers.checkpoint import Checkpoint
from bnsbench.training.optimisers.rollout import differentiable_states
from bnsbench.training.optimisers.selection import IterateSelection
from bnsbench.truth.noise import stream_seed
from bnsbench.truth.pairs import Pairs

Loss = Callable[[Tensor, Pairs], Tensor]
"""Parameters and a batch of pairs to a loss (0-d), differentiable in the parameters."""


@dataclass(frozen=True)
class AdamSettings:
    """How Adam descends.

    Args:
        iterations: on a batch each.
        batch: pairs in it.
        rate: the learning rate, which decays to zero by a cosine.
        check_every: iterations between validations.
    """

    iterations: int = 1000
    batch: int = 64
    rate: float = 5e-3
    check_every: int = 50


class Adam:
    """The descent by Adam, whose whole state can be saved and taken up again.

    Args:
        family: what the table has to choose.
        loss: of its parameters on a batch.
        pairs: to train on.
        selection: keeps the iterate with the least validation loss.
        settings: how to descend.
        seed: of the order of the pairs.
        evaluations: of the field that one sample costs in one iteration, the backward pass included.
    """

    def __init__(
        self,
        family: Parametrisation,
        loss: Loss,
        pairs: Pairs,
        selection: IterateSelection,
        settings: AdamSettings,
        *,
        seed: int,
        evaluations: int,
    ) -> None:
        self.family, self.loss, self.pairs = family, loss, pairs
        self.selection, self.settings, self.evaluations = selection, settings, evaluations
        self.theta = family.start().requires_grad_()
        self.optimiser = torch.optim.Adam([self.theta], lr=settings.rate)
        self.decay = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimiser, settings.iterations)
        self.generator = torch.Generator().manual_seed(stream_seed(seed, "batches", selection.nfe))
        self.order: list[int] = []
        self.iteration = 0

    def minimise(self, checkpoint: Checkpoint, saved: dict[str, Any] | None = None) -> None:
        """Descend to the end, from the saved state if there is one; a budget makes the way shorter.

        Args:
            checkpoint: where the state is saved.
            saved: what it holds, if that is known.
        """
        state = saved or checkpoint.load()
        if state is None:
            self._shorten()
            self._check()
        else:
            self.restore(state)
        while self.iteration < self.settings.iterations and self._affords(1):
            self.step()
            if self.iteration % self.settings.check_every == 0 or self.iteration == self.settings.iterations:
                self._check()
                checkpoint.save(self.state())

    def step(self) -> None:
        """Make one iteration; a gradient that is not finite moves nothing."""
        batch = self._batch()
        self.optimiser.zero_grad()
        with _fitting(len(batch)):
            # Into theta alone: the network is frozen, whatever its parameters say.
            torch.autograd.backward(self.loss(self.theta, batch), inputs=[self.theta])
        if self.theta.grad is not None and bool(self.theta.grad.isfinite().all()):
            self.optimiser.step()
            self.decay.step()
        self.iteration += 1
        self.selection.cost.training += self.evaluations * len(batch)

    def state(self) -> dict[str, Any]:
        """Return everything that later iterations depend on."""
        return {
            "theta": self.theta.detach(),
            "optimiser": self.optimiser.state_dict(),
            "decay": self.decay.state_dict(),
            "generator": self.generator.get_state(),
            "order": self.order,
            "iteration": self.iteration,
            "iterations": self.settings.iterations,
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
        self.settings = replace(self.settings, iterations=state.get("iterations", self.settings.iterations))
        self.selection.restore(state["selection"])

    def _shorten(self) -> None:
        """Take no more iterations than the budget allows, so that the rate has decayed when it is spent."""
        fitting = self.settings.iterations
        while fitting and not self._affords(fitting):
            fitting = fitting * 9 // 10
        if fitting < self.settings.iterations:
            self.settings = replace(self.settings, iterations=fitting)
            self.decay = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimiser, max(fitting, 1))

    def _affords(self, iterations: int) -> bool:
        """Whether the budget has room for so many iterations, and for the checks among them."""
        allowance, each = self.selection.allowance, self.evaluations * min(self.settings.batch, len(self.pairs))
        checks = 2 + iterations // self.settings.check_every if iterations > 1 else 1
        validation = checks * self.selection.nfe * len(self.selection.pairs)
        return allowance is None or allowance.affords(iterations * each + validation)

    def _check(self) -> None:
        with torch.no_grad():
            table = self.family.table(self.theta)
        self.selection.check(table, "Adam", self.iteration, self.settings.iterations)

    def _batch(self) -> Pairs:
        if len(self.order) < self.settings.batch:
            self.order = torch.randperm(len(self.pairs), generator=self.generator).tolist()
        chosen, self.order = self.order[: self.settings.batch], self.order[self.settings.batch :]
        return self.pairs.part(torch.tensor(chosen))


@contextmanager
def _fitting(batch: int) -> Iterator[None]:
    """Say what to do where a batch does not fit: its loss need not be a sum over samples, so it is not divided."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise DoesNotFitError(
            f"A batch of {batch} pairs does not fit into memory where Adam goes back through all evaluations of a table:"
            " choose optimiser=gauss-newton, which takes pairs in parts, checkpointed=true, or a network in bfloat16."
        ) from None


def objective_loss(family: Parametrisation, objective: Objective, checkpointed: bool = False) -> Loss:
    """Return the objective as a loss of the family's parameters, by backpropagation through the whole sampler.

    checkpointed: keep no activations of the network (see `differentiable_states`).
    """

    def errors_of(pairs: Pairs, table: NonStationarySolver) -> Tensor:
        states = differentiable_states(table, pairs.field, pairs.x0, checkpointed)
        times = table.times[1:].to(states.device)[:, None].expand(-1, len(pairs))
        if not objective.whole:
            states, times = states[-1:], times[-1:]
        return objective.errors(pairs, states, times)

    def loss(theta: Tensor, pairs: Pairs) -> Tensor:
        count, everything = len(pairs), slice(0, len(pairs))
        table = differentiable_table(family, team().gradient_of_all(theta, count))
        errors = team().rejoined(count, lambda share: errors_of(pairs if share == everything else pairs.part(share), table))
        return objective.loss(errors, pairs.sample_weights().to(errors.device))

    return loss


def differentiable_table(family: Parametrisation, theta: Tensor) -> NonStationarySolver:
    """Return the family's table, followed by autograd: through the family, or by its Jacobian where it is no torch code."""
    if family.differentiable:
        return family.table(theta)
    here = theta.detach()
    base = family.table(here)
    return with_entries(base, entries(base) + family.jacobian(here) @ (theta - here))
