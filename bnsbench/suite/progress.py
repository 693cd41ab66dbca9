"""How a run tells what it does: the observer that front ends implement, and an estimate of the time that is left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from bnsbench.suite.plan import Cell
from bnsbench.suite.record import Record

if TYPE_CHECKING:
    from bnsbench.training.problem import TrainingStatus


class RunObserver(Protocol):
    """Whom a run tells what it does; all calls come from the process that called `run_suite`."""

    def planned(self, cells: Sequence[Cell], pending: Sequence[Cell]) -> None:
        """Hear of all cells of the plan and of those that have to be run."""

    def notice(self, text: str) -> None:
        """Hear a sentence that the user should read, such as that a record is damaged."""

    def cell_started(self, cell: Cell) -> None:
        """Hear that a cell has begun."""

    def stage(self, cell: Cell, text: str) -> None:
        """Hear what a cell is at, such as solving its ground truth."""

    def training(self, cell: Cell, status: TrainingStatus) -> None:
        """Hear how far the training of a cell's solver is."""

    def cell_finished(self, cell: Cell, record: Record) -> None:
        """Hear that a cell's record has been written."""


class RunListener:
    """An observer that says nothing; a base for those that say something."""

    def planned(self, cells: Sequence[Cell], pending: Sequence[Cell]) -> None: ...

    def notice(self, text: str) -> None: ...

    def cell_started(self, cell: Cell) -> None: ...

    def stage(self, cell: Cell, text: str) -> None: ...

    def training(self, cell: Cell, status: TrainingStatus) -> None: ...

    def cell_finished(self, cell: Cell, record: Record) -> None: ...


@dataclass
class Remaining:
    """An estimate of the seconds that cells still take, from those that are done.

    The first cell of a field also makes the field (its ground truth), so it tells what fields cost. Of the others, those
    that sample alone and those that train have a rate each for every model, in seconds per network forward of a sample; a
    model of which nothing is known has the rate of all. Until something has been trained, training is taken to cost
    TRAINING_GUESS times as much as sampling.
    """

    TRAINING_GUESS = 30.0

    cells: list[Cell] = field(default_factory=list)
    _made: dict[str, float] = field(default_factory=dict)
    _spent: dict[tuple[str, bool], tuple[float, float]] = field(default_factory=dict)

    def finish(self, cell: Cell, seconds: float) -> None:
        """Take a cell off the list and learn from how long it took."""
        self.cells = [other for other in self.cells if other.key != cell.key]
        if cell.field_digest not in self._made:
            self._made[cell.field_digest] = seconds
        else:
            before = self._spent.get((cell.model.selector, cell.trained), (0.0, 0.0))
            self._spent[cell.model.selector, cell.trained] = before[0] + seconds, before[1] + cell.forwards

    def seconds(self, workers: int = 1) -> float | None:
        """Return the estimate for that many workers, or None while nothing is known."""
        if not any(not trained for _, trained in self._spent):
            return None
        unmade = {cell.field_digest for cell in self.cells} - self._made.keys()
        making = len(unmade) * sum(self._made.values()) / len(self._made)
        running = sum(self._rate(cell.model.selector, cell.trained) * cell.forwards for cell in self.cells)
        return (making + running) / workers

    def _rate(self, model: str, trained: bool) -> float:
        """Return seconds per forward: of the model's own cells, else of all, and for training else by the guess."""
        own = self._spent.get((model, trained))
        of_all = [spent for (_, kind), spent in self._spent.items() if kind == trained]
        if own is None and not of_all:
            return self.TRAINING_GUESS * self._rate(model, trained=False)
        seconds, forwards = own or (sum(spent[0] for spent in of_all), sum(spent[1] for spent in of_all))
        return seconds / forwards


SilentObserver = RunListener
