"""The choice of cells that a verification runs again, and the chance that it misses forged ones."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from bnsbench.suite.plan import Cell

FORGED = (1, 5, 20, 100)
"""Numbers of forged cells for which the chance of missing them all is told."""


@dataclass(frozen=True)
class Stratum:
    """Cells among which all are equally likely to be chosen: those of one model with, or without, trained solvers."""

    size: int
    chosen: int


@dataclass(frozen=True)
class Choice:
    """Cells that were chosen at random.

    cells: those chosen, in the order of the plan. strata: what they were chosen from.
    """

    cells: tuple[Cell, ...]
    strata: tuple[Stratum, ...] = ()

    @property
    def population(self) -> int:
        """The cells from which they were chosen."""
        return sum(stratum.size for stratum in self.strata)


@dataclass
class _Group:
    """A stratum while its share is worked out."""

    cells: list[Cell] = field(default_factory=list)
    count: int = 0

    @property
    def room(self) -> bool:
        return self.count < len(self.cells)

    @property
    def rate(self) -> float:
        return self.count / len(self.cells)


def draw(cells: Sequence[Cell], count: int | None, seed: int) -> Choice:
    """Return a random choice of cells: at least one of every model, a third with trained solvers, else as evenly as may be.

    How many each stratum gives does not depend on the seed, so that the chance of missing forged cells can be computed.

    Args:
        cells: Those to choose from.
        count: How many, or more where there are more models; None for all.
        seed: Of the choice.
    """
    groups: dict[tuple[str, bool], _Group] = {}
    for cell in cells:
        groups.setdefault((cell.model.selector, cell.trained), _Group()).cells.append(cell)
    if count is None or count >= len(cells):
        for group in groups.values():
            group.count = len(group.cells)
    elif count > 0:
        _share(groups, count)
    kept = {cell.key for group in groups.values() for cell in _shuffled(group.cells, seed)[: group.count]}
    strata = tuple(Stratum(len(group.cells), group.count) for group in groups.values())
    return Choice(tuple(cell for cell in cells if cell.key in kept), strata)


def choose(cells: Sequence[Cell], count: int | None, seed: int) -> list[Cell]:
    """Return the cells that `draw` chooses, in their order."""
    return list(draw(cells, count, seed).cells)


def chance_missed(strata: Iterable[Stratum], forged: int) -> float:
    """Return the chance that none of the forged cells is chosen, if a forger who knows the rule has placed them best.

    Of N cells of a stratum n are chosen, and k of them are forged; none of those is chosen with the hypergeometric chance
    C(N - k, n) / C(N, n). Every further forged cell in a stratum is riskier than the last, so that placing one after the
    other where it is safest is best.

    Args:
        strata: What was chosen from, and how much.
        forged: The number of forged cells k; with more than there are cells, none can be missed.
    """
    places = [[stratum.size, stratum.chosen] for stratum in strata]
    if forged > sum(size for size, _ in places):
        return 0.0
    chance = 1.0
    for _ in range(forged):
        # C(N - k - 1, n) / C(N - k, n) = (N - k - n) / (N - k), for k that lie there already.
        best = max((place for place in places if place[0]), key=lambda place: (place[0] - place[1]) / place[0])
        if best[0] <= best[1]:
            return 0.0
        chance *= (best[0] - best[1]) / best[0]
        best[0] -= 1
    return chance


def chance_missed_at_random(population: int, chosen: int, forged: int) -> float:
    """Return the chance that none of the forged cells is chosen, if they lie anywhere with equal chance.

    It is C(N - n, k) / C(N, k) for n chosen of N, however they were chosen.

    Args:
        population: All cells N.
        chosen: Those chosen n.
        forged: Those forged k.
    """
    return math.comb(population - chosen, forged) / math.comb(population, forged) if forged <= population else 0.0


def _share(groups: Mapping[tuple[str, bool], _Group], count: int) -> None:
    """Give every group its number of cells: each model one, then a third to trained ones, then evenly."""
    models = {model for model, _ in groups}
    for model in models:
        # From the larger of its groups, where one cell stands for the most.
        max((group for key, group in groups.items() if key[0] == model), key=lambda group: len(group.cells)).count = 1
    trained = [group for key, group in groups.items() if key[1]]
    while sum(group.count for group in trained) < max(1, count // 3) and _give(trained, count, groups):
        pass
    while _give(list(groups.values()), count, groups):
        pass


def _give(wanting: Sequence[_Group], count: int, groups: Mapping[tuple[str, bool], _Group]) -> bool:
    """Give one cell to the group of which the least share is chosen; False if nothing is left to give."""
    open_ = [group for group in wanting if group.room]
    if not open_ or sum(group.count for group in groups.values()) >= count:
        return False
    min(open_, key=lambda group: (group.rate, -len(group.cells))).count += 1
    return True


def _shuffled(cells: Sequence[Cell], seed: int) -> list[Cell]:
    """Return the cells in an order that depends on their keys and the seed alone."""
    return sorted(cells, key=lambda cell: hashlib.sha256(f"{seed} {cell.key}".encode()).digest())
