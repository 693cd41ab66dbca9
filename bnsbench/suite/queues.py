"""The order of cells for workers: a worker's next cell is of the field that it already holds, if there is one."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from bnsbench.suite.plan import Cell


class FieldQueues:
    """Cells waiting, by field. Making a field costs its ground truth, so workers share one only when none is left over."""

    def __init__(self, cells: Sequence[Cell]) -> None:
        self._waiting: dict[str, deque[Cell]] = {}
        self._held: dict[int, str] = {}
        for cell in cells:
            self._waiting.setdefault(cell.field_digest, deque()).append(cell)

    def next(self, worker: int) -> Cell | None:
        """Return the next cell for that worker, or None if all are given out."""
        field = self._choose(worker)
        if field is None:
            return None
        self._held[worker] = field
        return self._waiting[field].popleft()

    def _choose(self, worker: int) -> str | None:
        """Return the worker's own field; else the first that nobody holds; else the one with the most cells waiting."""
        open_fields = [field for field, cells in self._waiting.items() if cells]
        if not open_fields:
            return None
        if self._held.get(worker) in open_fields:
            return self._held[worker]
        others = {held for other, held in self._held.items() if other != worker}
        free = [field for field in open_fields if field not in others]
        return free[0] if free else max(open_fields, key=lambda field: len(self._waiting[field]))
