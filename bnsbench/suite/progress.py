"""How a run tells what it does: the observer that front ends implement, and an estimate of the time that is left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from bnsbench.suite.plan import Cell, digest
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

    The first cell of a field also makes the field (its ground truth), so it tells what fields cost. Of the others, those
    that sample alone and those that train have a rate each, in seconds per network forward of a sample. Until something
    has been trained, training is taken to cost TRAINING_GUESS times as much as sampling.
    """

    TRAINING_GUESS = 30.0

    cells: list[Cell] = field(default_factory=list)
    _made: dict[str, float] = field(default_factory=dict)
    _seconds: dict[bool, float] = field(default_factory=lambda: {True: 0.0, False: 0.0})
    _forwards: dict[bool, float] = field(default_factory=lambda: {True: 0.0, False: 0.0})

    def finish(self, cell: Cell, seconds: float) -> None:
        """Take a cell off the list and learn from how long it took."""
        self.cells = [other for other in self.cells if other.key != cell.key]
        if _field(cell) not in self._made:
            self._made[_field(cell)] = seconds
        else:
            self._seconds[cell.trained] += seconds
            self._forwards[cell.trained] += cell.forwards

    def seconds(self, workers: int = 1) -> float | None:
        """Return the estimate for that many workers, or None while nothing is known."""
        plain = self._rate(trained=False)
        if plain is None:
            return None
        learning = self._rate(trained=True) or plain * self.TRAINING_GUESS
        unmade = {_field(cell) for cell in self.cells} - self._made.keys()
        making = len(unmade) * sum(self._made.values()) / len(self._made)
        running = sum((learning if cell.trained else plain) * cell.forwards for cell in self.cells)
        return (making + running) / workers

    def _rate(self, trained: bool) -> float | None:
        return self._seconds[trained] / self._forwards[trained] if self._forwards[trained] else None


def _field(cell: Cell) -> str:
    return digest(cell.field_content)
