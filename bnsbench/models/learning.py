"""A resumable training loop: AdamW, and Muon for hidden matrices, under a warm-up and cosine decay, with averaging."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.optim import Optimizer

from bnsbench.errors import BnsbenchError, CorruptFileError, UsageError
from bnsbench.storage.files import replacing

Network = TypeVar("Network", bound=nn.Module)

WARM_UP = 200
MUON_RATE = 0.02
AVERAGE_DECAY = 0.999
CHECKPOINT_EVERY = 500


class Learner(Generic[Network]):
    """A network in training, with everything that a checkpoint has to hold.

    Its attribute ``average`` is the exponentially averaged network, which is the one to use.

    Args:
        network: The network to train.
        loss: A function (network, generator) that draws its own batch.
        steps: The whole budget.
        rate: AdamW's peak learning rate.
        seed: Of the generator.
        matrices: Parameters that Muon trains instead (Jordan et al. 2024), at a peak rate of 0.02; for the matrices inside
            transformer blocks it needs about a third fewer steps.

    Raises:
        BnsbenchError: If there are matrices and this torch has no Muon.
    """

    def __init__(
        self,
        network: Network,
        loss: Callable[[Network, torch.Generator], Tensor],
        steps: int,
        rate: float,
        seed: int,
        matrices: Iterable[Tensor] = (),
    ) -> None:
        self.network = network
        self.average = copy.deepcopy(network).requires_grad_(False)
        self.loss = loss
        self.steps = steps
        self.done = 0
        self.generator = torch.Generator().manual_seed(seed)
        self.optimisers = _optimisers(network, rate, list(matrices))

    def step(self) -> float:
        """Take one optimiser step and return the batch's loss."""
        decay = 0.5 + 0.5 * math.cos(math.pi * self.done / self.steps)
        for optimiser, rate in self.optimisers:
            optimiser.param_groups[0]["lr"] = rate * decay * min(1.0, self.done / WARM_UP)
        loss = self.loss(self.network, self.generator)
        self.network.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        for optimiser, _ in self.optimisers:
            optimiser.step()
        self.done += 1
        # The share of the past grows from 0.1, so early averages forget the initial weights.
        past = min(AVERAGE_DECAY, self.done / (self.done + 9))
        with torch.no_grad():
            for averaged, current in zip(self.average.parameters(), self.network.parameters(), strict=True):
                averaged.lerp_(current, 1.0 - past)
        return float(loss.detach())

    def state(self) -> dict[str, Any]:
        """Return what `restore` needs to go on as if nothing had happened."""
        return {
            "steps": self.steps,
            "done": self.done,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser, _ in self.optimisers],
            "generator": self.generator.get_state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take over a state; UsageError if it was written for another step budget."""
        if state["steps"] != self.steps:
            raise UsageError(
                f"The checkpoint was written for a budget of {state['steps']} steps, not {self.steps}: "
                f"use that budget or delete the checkpoint."
            )
        self.done = state["done"]
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        for (optimiser, _), kept in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(kept)
        self.generator.set_state(state["generator"])


def _optimisers(network: nn.Module, rate: float, matrices: list[Tensor]) -> list[tuple[Optimizer, float]]:
    """Return the optimisers with their peak rates."""
    chosen = {id(matrix) for matrix in matrices}
    rest = [parameter for parameter in network.parameters() if id(parameter) not in chosen]
    adam = torch.optim.AdamW(rest, rate, betas=(0.9, 0.99), weight_decay=0.01)
    if not matrices:
        return [(adam, rate)]
    if not hasattr(torch.optim, "Muon"):
        raise BnsbenchError(
            f"Training this network needs Muon, which came with torch 2.9; this is torch {torch.__version__}."
        )
    return [(adam, rate), (torch.optim.Muon(matrices, MUON_RATE, weight_decay=0.01), MUON_RATE)]


def learn(learner: Learner[Any], checkpoint: Path, title: str, progress: bool = True) -> None:
    """Train to the end of the step budget, from the checkpoint if there is one.

    Args:
        learner: The network in training.
        checkpoint: A file, written every 500 steps.
        title: What the bar of progress is headed with.
        progress: Whether to show that bar.

    Raises:
        UsageError: If the checkpoint was written for another budget.
        CorruptFileError: If it is damaged.
    """
    if checkpoint.exists():
        _restore(learner, checkpoint)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, disable=not progress) as bar:
        task = bar.add_task(title, total=learner.steps, completed=learner.done)
        while learner.done < learner.steps:
            loss = learner.step()
            bar.update(task, advance=1, description=f"{title}, loss {loss:.4f}")
            if learner.done % CHECKPOINT_EVERY == 0 or learner.done == learner.steps:
                with replacing(checkpoint) as temporary:
                    torch.save(learner.state(), temporary)


def _restore(learner: Learner[Any], checkpoint: Path) -> None:
    try:
        learner.restore(torch.load(checkpoint, weights_only=True))
    except UsageError:
        raise
    except Exception as error:  # torch and pickle raise anything for files of other things
        raise CorruptFileError(f"The checkpoint {checkpoint} is damaged: delete it to begin anew.") from error
