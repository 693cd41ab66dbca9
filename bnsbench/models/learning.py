"""A resumable training loop: AdamW, and Muon for hidden matrices, under a warm-up and cosine decay, with averaging."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import get_ema_multi_avg_fn

from bnsbench.errors import BnsbenchError, CorruptFileError, UsageError
from bnsbench.storage.files import replacing

Network = TypeVar("Network", bound=nn.Module)

WARM_UP = 200
MUON_RATE = 0.02
AVERAGE_DECAY = 0.999
CHECKPOINT_EVERY = 500
LOSS_EVERY = 20
"""Steps between two looks at the loss, for which an accelerator has to finish what it does."""


class Learner(Generic[Network]):
    """A network in training, with everything that a checkpoint has to hold.

    Its attribute ``average`` is the exponentially averaged network, which is the one to use; it looks back over about a
    ninth of the steps done, and at most 1000. Its attribute ``seconds`` may be set to a budget of time before the first
    step; the learning rate decays within whichever budget ends first. On CUDA, losses are in mixed precision with bfloat16.

    Args:
        network: The network to train, which moves to the device.
        loss: A function (network, generator) that draws its own batch, on the generator's device.
        steps: The whole budget.
        rate: AdamW's peak learning rate.
        seed: Of the generator.
        matrices: Parameters that Muon trains instead (Jordan et al. 2024), at a peak rate of 0.02; for the matrices inside
            transformer blocks it needs about a third fewer steps.
        device: "cpu" or "cuda".

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
        *,
        device: str = "cpu",
    ) -> None:
        self.device = torch.device(device)
        self.device_name = self.device.type
        if self.device.type == "cuda":
            self.device_name = torch.cuda.get_device_name(self.device)
            torch.backends.cudnn.benchmark = True  # all batches have one shape
        self.network = network.to(self.device)
        self.average = copy.deepcopy(network).requires_grad_(False)
        self.loss = loss
        self.steps = steps
        self.seconds = math.inf
        self.done = 0
        self.generator = torch.Generator(self.device).manual_seed(seed)
        self.optimisers = _optimisers(network, rate, list(matrices))
        self._spent = 0.0
        self._begun: float | None = None

    @property
    def elapsed(self) -> float:
        """Seconds since the first step, without those between an interruption and the first step after it."""
        return self._spent + (0.0 if self._begun is None else time.perf_counter() - self._begun)

    @property
    def finished(self) -> bool:
        """Whether one of the budgets is used up."""
        return self.done >= self.steps or self.elapsed >= self.seconds

    def step(self) -> Tensor:
        """Take one optimiser step and return the batch's loss, 0-d, without waiting for it."""
        if self._begun is None:
            self._begun = time.perf_counter()
        passed = max(math.pi * self.done / self.steps, math.pi * min(1.0, self.elapsed / self.seconds))
        decay = 0.5 + 0.5 * math.cos(passed)
        for optimiser, rate in self.optimisers:
            optimiser.param_groups[0]["lr"] = rate * decay * min(1.0, self.done / WARM_UP)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            loss = self.loss(self.network, self.generator)
        self.network.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        for optimiser, _ in self.optimisers:
            optimiser.step()
        self.done += 1
        # The share of the past grows from 0.1, so early averages forget the initial weights.
        past = min(AVERAGE_DECAY, self.done / (self.done + 9))
        average = get_ema_multi_avg_fn(past)  # type: ignore[no-untyped-call]
        average(list(self.average.parameters()), list(self.network.parameters()), None)
        return loss.detach()

    def state(self) -> dict[str, Any]:
        """Return what `restore` needs to go on as if nothing had happened."""
        return {
            "steps": self.steps,
            "done": self.done,
            "elapsed": self.elapsed,
            "device": self.device_name,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser, _ in self.optimisers],
            "generator": self.generator.get_state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take over a state; UsageError if it was written for another step budget, or has to go on on another device."""
        if state["steps"] != self.steps:
            raise UsageError(
                f"The checkpoint was written for a budget of {state['steps']} steps, not {self.steps}: "
                f"use that budget or delete the checkpoint."
            )
        self.done = state["done"]
        self._spent = state["elapsed"]
        if state["device"] != self.device_name and not self.finished:
            raise UsageError(
                f"The checkpoint was written on the device {state['device']!r}, not {self.device_name!r}: "
                f"go on there or delete the checkpoint."
            )
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        if state["device"] == self.device_name:
            for (optimiser, _), kept in zip(self.optimisers, state["optimisers"], strict=True):
                optimiser.load_state_dict(kept)
            self.generator.set_state(state["generator"])
        self.device_name = state["device"]


def _optimisers(network: nn.Module, rate: float, matrices: list[Tensor]) -> list[tuple[Optimizer, float]]:
    """Return the optimisers with their peak rates."""
    chosen = {id(matrix) for matrix in matrices}
    rest = [parameter for parameter in network.parameters() if id(parameter) not in chosen]
    fused = True if rest[0].is_cuda else None
    adam = torch.optim.AdamW(rest, rate, betas=(0.9, 0.99), weight_decay=0.01, fused=fused)
    if not matrices:
        return [(adam, rate)]
    if not hasattr(torch.optim, "Muon"):
        raise BnsbenchError(
            f"Training this network needs Muon, which came with torch 2.9; this is torch {torch.__version__}."
        )
    return [(adam, rate), (torch.optim.Muon(matrices, MUON_RATE, weight_decay=0.01), MUON_RATE)]


def learn(learner: Learner[Any], checkpoint: Path, title: str, progress: bool = True) -> None:
    """Train until a budget is used up, from the checkpoint if there is one.

    Args:
        learner: The network in training.
        checkpoint: A file, written every 500 steps and at the end.
        title: What the bar of progress is headed with.
        progress: Whether to show that bar.

    Raises:
        UsageError: If the checkpoint was written for another budget, or has to go on on another device.
        CorruptFileError: If it is damaged.
    """
    if checkpoint.exists():
        _restore(learner, checkpoint)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    timed = learner.seconds < math.inf
    with Progress(*columns, disable=not progress) as bar:
        task = bar.add_task(title, total=round(learner.seconds) if timed else learner.steps)
        while not learner.finished:
            bar.update(task, completed=round(learner.elapsed) if timed else learner.done)
            loss = learner.step()
            if learner.done % LOSS_EVERY == 0:
                bar.update(task, description=f"{title}, step {learner.done}, loss {float(loss):.4f}")
            if learner.done % CHECKPOINT_EVERY == 0:
                _save(learner, checkpoint)
        bar.update(task, completed=round(learner.seconds) if timed else learner.steps)
    _save(learner, checkpoint)


def _save(learner: Learner[Any], checkpoint: Path) -> None:
    with replacing(checkpoint) as temporary:
        torch.save(learner.state(), temporary)


def _restore(learner: Learner[Any], checkpoint: Path) -> None:
    try:
        learner.restore(torch.load(checkpoint, map_location="cpu", weights_only=True))
    except UsageError:
        raise
    except Exception as error:  # torch and pickle raise anything for files of other things
        raise CorruptFileError(f"The checkpoint {checkpoint} is damaged: delete it to begin anew.") from error
