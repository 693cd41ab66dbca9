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


class SilentObserver:
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

    Sampling is taken to cost in proportion to network forwards; training is averaged over the cells that trained. Until
    something has been trained, a training is taken to cost as much as sampling ``TRAINING_GUESS`` times.
    """

    TRAINING_GUESS = 30.0

    cells: list[Cell] = field(default_factory=list)
    _seconds: dict[bool, float] = field(default_factory=lambda: {True: 0.0, False: 0.0})
    _forwards: dict[bool, float] = field(default_factory=lambda: {True: 0.0, False: 0.0})

    def finish(self, cell: Cell, seconds: float) -> None:
        """Take a cell off the list and learn from how long it took."""
        self.cells = [other for other in self.cells if other.key != cell.key]
        self._seconds[cell.trained] += seconds
        self._forwards[cell.trained] += cell.forwards

    def seconds(self, workers: int = 1) -> float | None:
        """Return the estimate for that many workers, or None while nothing is known."""
        rates = {trained: self._rate(trained) for trained in (True, False)}
        if any(rate is None for rate in rates.values()):
            return None
        return sum((rates[cell.trained] or 0.0) * cell.forwards for cell in self.cells) / workers

    def _rate(self, trained: bool) -> float | None:
        if self._forwards[trained]:
            return self._seconds[trained] / self._forwards[trained]
        if not self._forwards[not trained]:
            return None
        other = self._seconds[not trained] / self._forwards[not trained]
        return other * self.TRAINING_GUESS if trained else other / self.TRAINING_GUESS
