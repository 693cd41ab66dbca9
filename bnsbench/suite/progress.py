"""Listeners to the progress of a run, and an estimate of the time that is left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from bnsbench.errors import printable
from bnsbench.suite.plan import Cell
from bnsbench.suite.record import Record
from bnsbench.training.listener import Listener

if TYPE_CHECKING:
    from bnsbench.training.problem import TrainingStatus

Message = Literal["stage", "notice", "training"]
"""The messages of a `Listener`, by the names of its methods."""


class RunListener(Listener):
    """A listener to a run, which ignores everything; all calls come from the process that called `run_suite`."""

    def planned(self, cells: Sequence[Cell], pending: Sequence[Cell]) -> None:
        """Take all cells of the plan, and those of them that have to be run."""

    def started(self, cell: Cell) -> None:
        """Take a cell that begins."""

    def of_cell(self, cell: Cell, message: Message, content: Any) -> None:
        """Take a message of a running cell; unless overridden, pass it to the method of that name with the cell's label.

        Args:
            cell: The cell.
            message: The method of `Listener` for which it is meant.
            content: That method's argument.
        """
        if message == "training":
            self.training(replace(content, stage=f"{cell.label}: {content.stage}"))
        elif message == "stage":
            self.stage(f"{cell.label}: {content}")
        else:
            self.notice(content)

    def finished(self, cell: Cell, record: Record) -> None:
        """Take a cell whose record has been written."""


@dataclass(frozen=True)
class Relay(Listener):
    """A listener that sends every message on, by its name: to a run's listener with the cell, or to another process."""

    send: Callable[[Message, Any], None]

    def stage(self, text: str) -> None:
        self.send("stage", printable(text))

    def notice(self, text: str) -> None:
        self.send("notice", printable(text))

    def training(self, status: TrainingStatus) -> None:
        # Trainers of plugins report, and whoever hears them is not to blame for it.
        self.send("training", status.checked())


class _OfCells(Relay, RunListener):
    """A listener to a run that passes the cells' messages to a plain `Listener`, but not which cells start and end."""


def listener_of_run(listener: Listener | None) -> RunListener:
    """Return a listener as a run needs it; None stands for one that ignores everything."""
    if isinstance(listener, RunListener):
        return listener
    return RunListener() if listener is None else _OfCells(lambda message, content: getattr(listener, message)(content))


class Remaining:
    """An estimate of the seconds that cells still take, from those that are done.

    The first cell of a field also makes the field (its ground truth), so it tells what fields cost. Of the others, those
    that sample alone and those that train have a rate each for every model, in seconds per network forward of a sample; a
    model of which nothing is known has the rate of all. Until something has been trained, training is taken to cost
    TRAINING_GUESS times as much as sampling.
    """

    TRAINING_GUESS = 30.0

    def __init__(self, cells: Iterable[Cell] = (), retrain: bool = False) -> None:
        """Take the cells that are left; ``retrain`` says that solvers are trained that the package has."""
        self._retrain = retrain
        self._left = {cell.key: cell for cell in cells}
        self._forwards = Counter[_Pace]()
        for cell in self._left.values():
            self._forwards[self._pace(cell)] += cell.forwards
        self._unmade = {cell.field_digest for cell in self._left.values()}
        self._made: list[float] = []
        self._spent: dict[_Pace, tuple[float, float]] = {}

    def __len__(self) -> int:
        """Return how many cells are left."""
        return len(self._left)

    def finish(self, cell: Cell, seconds: float) -> None:
        """Take a cell off the list and learn from how long it took."""
        pace = self._pace(cell)
        if self._left.pop(cell.key, None) is not None:
            self._forwards[pace] -= cell.forwards
        if cell.field_digest in self._unmade:
            self._unmade.remove(cell.field_digest)
            self._made.append(seconds)
        else:
            before = self._spent.get(pace, (0.0, 0.0))
            self._spent[pace] = before[0] + seconds, before[1] + cell.forwards

    def seconds(self, workers: int = 1) -> float | None:
        """Return the estimate for that many workers, or None while nothing is known."""
        if not any(not trained for _, trained in self._spent):
            return None
        making = len(self._unmade) * sum(self._made) / max(1, len(self._made))
        running = sum(self._rate(*pace) * forwards for pace, forwards in self._forwards.items() if forwards)
        return (making + running) / workers

    def _pace(self, cell: Cell) -> _Pace:
        return cell.model.selector, cell.needs_training(self._retrain)

    def _rate(self, model: str, trained: bool) -> float:
        """Return seconds per forward: of the model's own cells, else of all, and for training else by the guess."""
        own = self._spent.get((model, trained))
        of_all = [spent for (_, kind), spent in self._spent.items() if kind == trained]
        if own is None and not of_all:
            return self.TRAINING_GUESS * self._rate(model, trained=False)
        seconds, forwards = own or (sum(spent[0] for spent in of_all), sum(spent[1] for spent in of_all))
        return seconds / forwards


_Pace = tuple[str, bool]
"""A model's selector, and whether solvers are trained: cells that take as long per forward."""
