"""A recipe: the training of shipped weights, and the figures that they must reach."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from bnsbench.errors import BnsbenchError
from bnsbench.models.learning import Learner, Network, learn

SEED = 0


@dataclass(frozen=True)
class Course:
    """How a training goes.

    steps: the whole budget.
    seconds: a budget of time besides.
    device: "cpu" or "cuda".
    data: the folder of a data set that the package does not bring.
    progress: whether to show a bar of progress.
    """

    steps: int
    seconds: float = math.inf
    device: str = "cpu"
    data: Path | None = None
    progress: bool = True


class Trained(NamedTuple):
    """The tensors to ship, and what the manifest records about their training besides the seed: its steps at least."""

    tensors: dict[str, Tensor]
    record: dict[str, Any]


class Training(Protocol):
    """A function that trains the tensors of one name."""

    def __call__(self, course: Course, checkpoint: Path) -> Trained:
        """Train, from the checkpoint if that file is there, and return the tensors to ship with their record."""


@dataclass(frozen=True)
class Recipe:
    """The training and measurement of the weights of one name.

    steps: the whole budget.
    train: makes the tensors.
    measure: returns the figures of the weights in a folder, wherever that is.
    gates: lower bounds of some figures.
    data: where the files of its data set are, if the package does not bring them, unless a course says otherwise.
    devices: on which it can train.
    timed: whether a budget of time can end it.
    after: the name of the weights that have to be there before, "" if none.
    measure_by_data: returns further figures of the weights in a folder, by the files of the data set in another.
    """

    steps: int
    train: Training
    measure: Callable[[Path], dict[str, float]]
    gates: Mapping[str, float]
    data: Path | None = None
    devices: tuple[str, ...] = ("cpu",)
    timed: bool = True
    after: str = ""
    measure_by_data: Callable[[Path, Path], dict[str, float]] | None = None

    def figures(self, folder: Path, data: Path | None = None) -> dict[str, float]:
        """Return all figures of the weights in a folder, but those by the data set only where its files are.

        Args:
            folder: Of the weights.
            data: The folder of the data set, if it is not where the recipe says.

        Raises:
            UsageError: If files of the data set are missing in ``data``.
        """
        figures = self.measure(folder)
        where = data or self.data
        if self.measure_by_data is not None and where is not None and (data or where.is_dir()):
            figures |= self.measure_by_data(folder, where)
        return figures

    def unmeasured(self, figures: Mapping[str, float]) -> list[str]:
        """Return the names of the gates for which there is no figure."""
        return [key for key in self.gates if key not in figures]

    def check(self, name: str, figures: Mapping[str, float]) -> None:
        """Raise BnsbenchError with the figures that fall below their bounds."""
        bounds = {key: bound for key, bound in self.gates.items() if key in figures}
        missed = [f"{key} {figures[key]:.3f} < {bound:g}" for key, bound in bounds.items() if not figures[key] >= bound]
        if missed:
            raise BnsbenchError(
                f"The weights {name!r} miss their gate: {', '.join(missed)}; train longer or with another seed."
            )


def gradient_training(title: str, make: Callable[[int], Learner[Any]]) -> Training:
    """Return the training of a learner, ``make(steps)``, whose averaged network is shipped."""
    return course_training(title, lambda course: make(course.steps))


def course_training(title: str, make: Callable[[Course], Learner[Any]]) -> Training:
    """Return the training of a learner, ``make(course)``, whose averaged network is shipped."""

    def train(course: Course, checkpoint: Path) -> Trained:
        learner = make(course)
        learner.seconds = course.seconds
        learn(learner, checkpoint, title, course.progress)
        return trained(learner)

    return train


def trained(learner: Learner[Any]) -> Trained:
    """Return the averaged network of a learner and the record of its training: steps; device and seconds if not the CPU."""
    state: dict[str, Tensor] = learner.average.state_dict()
    record: dict[str, Any] = {"steps": learner.done}
    if learner.device_name != "cpu":
        record |= {"device": learner.device_name, "seconds": round(learner.elapsed)}
    return Trained(state, record)


def no_figures(folder: Path) -> dict[str, float]:
    """Measure nothing, for weights that are data."""
    del folder
    return {}


def seeded(make: Callable[[], Network]) -> Network:
    """Build a network from the seed without touching the process's random state."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        return make()


def recipe_modules() -> Iterator[ModuleType]:
    """Yield the module ``recipes`` of every embedded data set, which is a folder beside this file."""
    for file in sorted(Path(__file__).parent.glob("*/recipes.py")):
        yield import_module(f"bnsbench.models.{file.parent.name}.recipes")
