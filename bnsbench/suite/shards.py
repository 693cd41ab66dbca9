"""Shards: a plan dealt out to several processes or machines that never speak with each other.

Every shard computes the same deal from the plan alone, so that all cells are run once, whichever shards run where and when.
A field stays in one piece, for its ground truth is solved by whoever runs its cells. Only where there are more shards than
fields are fields cut, the costliest first, and then every piece needs the truth, which pieces that share a cache solve
together. The cells of one trained solver stay together even then: the higher rungs of its ladder need the lower ones.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Self

from bnsbench._text import quoted
from bnsbench.errors import UsageError
from bnsbench.suite.plan import Cell

MOST = 100_000
"""The largest number of shards."""

_TEXT = re.compile(r"([0-9]{1,9})/([0-9]{1,9})")

Cells = tuple[Cell, ...]
Cost = Callable[[Sequence[Cell]], float]
Bond = Callable[[Cell], str]
"""What the cells of a field that stay together have in common."""


@dataclass(frozen=True)
class Shard:
    """One of ``count`` shards; ``index`` counts from 0, as job arrays and indexed jobs do."""

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the shard that "index/count" means, such as "0/4"; UsageError if it means none."""
        found = _TEXT.fullmatch(str(text).strip())
        if found is None:
            raise UsageError(f"A shard is INDEX/COUNT, such as 0/4 for the first of four, not {quoted(str(text))}.")
        index, count = int(found[1]), int(found[2])
        if not 1 <= count <= MOST:
            raise UsageError(f"The number of shards is between 1 and {MOST:,}, not {count:,}.")
        if index >= count:
            raise UsageError(
                f"There is no shard {index}/{count}: shards count from 0, so that the last one is {count - 1}/{count};"
                " a job array of so many tasks begins at 0, too."
            )
        return cls(index, count)

    def of(self, cells: Sequence[Cell]) -> Cells:
        """Return the cells of a plan that are this shard's, in the plan's order; none where it cannot be cut so often."""
        own = {cell.key for cell in deal(cells, self.count)[self.index]}
        return tuple(cell for cell in cells if cell.key in own)

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


@dataclass(frozen=True)
class _Pile:
    """Cells that stay together, and what they are expected to cost."""

    cells: Cells
    cost: float


def bond_of(cell: Cell) -> str:
    """Return what cells of a field stay together by: the solver if it is trained; any other that can be run is alone."""
    if cell.skip is not None:
        return ""
    return cell.solver.selector if cell.trained else cell.key


def deal(cells: Sequence[Cell], count: int, bond: Bond = bond_of) -> list[Cells]:
    """Return the cells of every shard, balanced by expected cost: network forwards, or GPU hours where a suite knows them.

    Args:
        cells: The whole plan.
        count: Of the shards.
        bond: Cells of a field for which it is the same stay together.
    """
    cost = _cost_in_hours if all(cell.gflops for cell in cells if cell.skip is None) else _cost_in_forwards
    fields = _piles(cells, lambda cell: cell.field_digest, cost)
    pieces = (
        fields
        if count <= len(fields)
        else [piece for field, parts in _shares(fields, count, bond) for piece in _cut(field, parts, cost, bond)]
    )
    return [tuple(cell for pile in piles for cell in pile.cells) for piles in _balanced(pieces, count)]


def _cost_in_forwards(cells: Sequence[Cell]) -> float:
    from bnsbench.suite.estimate import estimate  # noqa: PLC0415 (loads torch, which a run without shards may not need)

    # As if no solver were shipped: the deal must not depend on what a machine has.
    found = estimate(cells, retrain=True)
    return float(found.sampling + found.truth + found.training)


def _cost_in_hours(cells: Sequence[Cell]) -> float:
    from bnsbench.suite.estimate import estimate  # noqa: PLC0415 (loads torch)

    return estimate(cells, retrain=True).hours or 0.0


def _piles(cells: Iterable[Cell], name: Callable[[Cell], str], cost: Cost) -> list[_Pile]:
    """Return the cells of each name as a pile, in the order of the plan."""
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(name(cell), []).append(cell)
    return [_Pile(tuple(group), cost(group)) for group in groups.values()]


def _balanced(piles: Sequence[_Pile], count: int) -> list[list[_Pile]]:
    """Return the piles in so many heaps: the costliest first, each to the heap that costs least so far."""
    heaps: list[list[_Pile]] = [[] for _ in range(count)]
    loads = [(0.0, index) for index in range(count)]
    for pile in sorted(piles, key=lambda pile: -pile.cost):
        load, index = heapq.heappop(loads)
        heaps[index].append(pile)
        heapq.heappush(loads, (load + pile.cost, index))
    return heaps


def _shares(fields: Sequence[_Pile], count: int, bond: Bond) -> list[tuple[_Pile, int]]:
    """Return every field with the number of pieces to cut it into: each further cut goes where a piece costs most."""
    most = [len({bond(cell) for cell in field.cells if cell.skip is None}) for field in fields]
    parts = [1] * len(fields)
    waiting = [(-field.cost, index) for index, field in enumerate(fields) if most[index] > 1]
    heapq.heapify(waiting)
    for _ in range(count - len(fields)):
        if not waiting:
            break
        _, index = heapq.heappop(waiting)
        parts[index] += 1
        if parts[index] < most[index]:
            heapq.heappush(waiting, (-fields[index].cost / parts[index], index))
    return list(zip(fields, parts, strict=True))


def _cut(field: _Pile, parts: int, cost: Cost, bond: Bond) -> list[_Pile]:
    """Return a field in so many pieces, each with the cost of solving its truth again."""
    heaps = _balanced(_piles(field.cells, bond, cost), parts)
    pieces = [tuple(cell for pile in heap for cell in pile.cells) for heap in heaps]
    return [_Pile(cells, cost(cells)) for cells in pieces]
