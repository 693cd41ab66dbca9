"""A recipe: the training of shipped weights, and the figures that they must reach."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import torch
from torch import Tensor

from bnsbench.errors import BnsbenchError
from bnsbench.models.learning import Learner, Network, learn

SEED = 0


class Training(Protocol):
    """A function that trains the tensors of one name."""

    def __call__(self, steps: int, checkpoint: Path, progress: bool) -> dict[str, Tensor]:
        """Train, and return the tensors to ship.

        Args:
            steps: The whole budget.
            checkpoint: A file from which an interrupted training goes on.
            progress: Whether to show a bar of progress.
        """


@dataclass(frozen=True)
class Recipe:
    """The training and measurement of the weights of one name.

    steps: the whole budget.
    train: makes the tensors.
    measure: returns the figures of the weights in a folder.
    gates: lower bounds of some figures.
    """

    steps: int
    train: Training
    measure: Callable[[Path], dict[str, float]]
    gates: Mapping[str, float]

    def check(self, name: str, figures: Mapping[str, float]) -> None:
        """Raise BnsbenchError with the figures that fall below their bounds."""
        missed = [f"{key} {figures[key]:.3f} < {bound:g}" for key, bound in self.gates.items() if not figures[key] >= bound]
        if missed:
            raise BnsbenchError(
                f"The weights {name!r} miss their gate: {', '.join(missed)}; train longer or with another seed."
            )


def gradient_training(title: str, make: Callable[[int], Learner[Any]]) -> Training:
    """Return the training of a learner, ``make(steps)``, whose averaged network is shipped."""

    def train(steps: int, checkpoint: Path, progress: bool) -> dict[str, Tensor]:
        learner = make(steps)
        learn(learner, checkpoint, title, progress)
        state: dict[str, Tensor] = learner.average.state_dict()
        return state

    return train


def seeded(make: Callable[[], Network]) -> Network:
    """Build a network from the seed without touching the process's random state."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        return make()


def recipe_modules() -> Iterator[ModuleType]:
    """Yield the module ``recipes`` of every embedded data set, which is a folder beside this file."""
    for file in sorted(Path(__file__).parent.glob("*/recipes.py")):
        yield import_module(f"bnsbench.models.{file.parent.name}.recipes")
