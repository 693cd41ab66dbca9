"""Searching a classic rule's time grid: a race of coarse candidates, then steps in the options of the best families."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from bnsbench.errors import UsageError
from bnsbench.flows.pairs import Pairs
from bnsbench.flows.psnr import decibels
from bnsbench.solvers.grids import NamedGrid
from bnsbench.training.objectives import SMALLEST_ERROR
from bnsbench.training.problem import Cost
from bnsbench.training.rollout import end_states
from bnsbench.training.table import Table

GridRule = Callable[[NamedGrid], Table]
"""A classic solver of one NFE as a function of its grid; UsageError where there is no such grid."""

LOGARITHMIC = {"kumaraswamy": (True, True), "power": (True,), "shifted": (True,), "edm": (True, True, True)}
"""Families with options that are searched by their logarithms, option by option; those of all others are log-SNR."""
STEPS = {True: math.log(1.2), False: 0.5}
"""The first steps of the search: a fifth of an option, half a unit of log-SNR."""

COARSE = (
    NamedGrid("uniform"),
    *(NamedGrid("kumaraswamy", (p, q)) for p in (0.8, 1.2, 1.7) for q in (1.0, 1.6, 2.5)),
    *(NamedGrid("kumaraswamy", (1.0, q)) for q in (1.3, 2.0)),
    *(NamedGrid("logsnr", bounds) for bounds in ((-5.0, 5.0), (-3.0, 3.0), (-2.0, 3.0), (-4.0, 4.0))),
    *(NamedGrid("inner", bounds) for bounds in ((-2.0, 3.0), (-1.0, 2.0), (-3.0, 4.0))),
    *(NamedGrid("edm", options) for options in ((7.0, 0.002, 80.0), (7.0, 0.05, 20.0), (5.0, 0.1, 5.0))),
    *(NamedGrid("shifted", (shift,)) for shift in (0.4, 2.0)),
)
"""Where the search begins: grids of every family, over the range in which the best ones of the embedded fields lie."""


@dataclass(frozen=True)
class Candidate:
    """A rule on a grid, its table, and its PSNR in dB on the pairs on which it was last judged."""

    rule: str
    grid: NamedGrid
    table: Table = field(repr=False)
    psnr: float = -math.inf


@dataclass(frozen=True)
class Ranking:
    """What a search has found: the finalists by their PSNR on validation pairs, and the best grid seen of every rule."""

    finalists: Sequence[Candidate]
    by_rule: Mapping[str, Candidate]


@dataclass(frozen=True)
class Effort:
    """How much a search spends.

    heats: training pairs of each heat of the race, increasing. kept: share of the candidates that go on to the next heat.
    leaders: how many are refined. rounds: of refinement, each of which tries 2 d steps in the d options of a leader.
    finalists: how many are judged on validation pairs.
    """

    heats: tuple[int, ...] = (4, 8, 16)
    kept: float = 0.3
    leaders: int = 2
    rounds: int = 3
    finalists: int = 4


class Judge:
    """Measures candidates on pairs, counts what that costs and remembers how many candidates there were.

    report: called with the number of candidates judged so far and the best PSNR of the last batch.
    """

    def __init__(self, rules: Mapping[str, GridRule], data_range: float, report: Callable[[int, float], None]) -> None:
        self.rules, self.data_range, self.report = rules, data_range, report
        self.seen = 0

    def candidates(self, grids: Iterable[tuple[str, NamedGrid]]) -> list[Candidate]:
        """Return the rules on those of the grids that there are here."""
        return [made for rule, grid in grids if (made := self._candidate(rule, grid)) is not None]

    def judged(self, candidates: Sequence[Candidate], pairs: Pairs) -> list[Candidate]:
        """Return the candidates with their PSNR on the pairs, the best first."""
        truth = pairs.x1.flatten(1).double()
        ends = end_states([each.table for each in candidates], pairs.field, pairs.x0)
        values = [_mean_psnr((end.double() - truth).square().mean(1), pairs, self.data_range) for end in ends]
        found = [Candidate(each.rule, each.grid, each.table, value) for each, value in zip(candidates, values, strict=True)]
        self.seen += len(found)
        found.sort(key=lambda each: -each.psnr)
        self.report(self.seen, found[0].psnr)
        return found

    def _candidate(self, rule: str, grid: NamedGrid) -> Candidate | None:
        try:
            table = self.rules[rule](grid)
        except (UsageError, ArithmeticError, ValueError):  # no such grid on this path, or a step without coefficients
            return None
        return Candidate(rule, grid, table) if bool(torch.isfinite(table.rows).all()) else None


def _mean_psnr(errors: torch.Tensor, pairs: Pairs, data_range: float) -> float:
    """Return the mean over samples of their PSNR in dB; -inf if a state is not finite."""
    errors = errors.cpu()
    if not bool(errors.isfinite().all()):
        return -math.inf
    return float((pairs.sample_weights() * decibels(errors.clamp_min(SMALLEST_ERROR), data_range)).sum())


def search(
    judge: Judge, start: Sequence[tuple[str, NamedGrid]], train: Pairs, validation: Pairs, effort: Effort, cost: Cost
) -> Ranking:
    """Return what a race over rules and coarse grids, and the refinement of its leaders, find.

    start: rules and coarse grids, the grid that a rule has by default first. Heats on more and more training pairs leave
    ever fewer of them; then the leaders, of different rules or families, are improved step by step in their grids' options.
    Those whom nobody beats on the training pairs are judged on the validation pairs, beside their rules' default grids.
    UsageError if no candidate is there on this path.
    """
    racing = entrants = judge.candidates(start)
    if not entrants:
        raise UsageError("None of the time grids that are searched increases here.")
    by_rule: dict[str, Candidate] = {}
    for heat in effort.heats:
        pairs = train.part(slice(heat))
        racing = judge.judged(racing, pairs)
        cost.training += racing[0].table.n * len(racing) * len(pairs)
        by_rule |= _best_by_rule(racing)
        racing = racing[: max(effort.finalists, math.ceil(effort.kept * len(racing)))]
    refined = [_refined(judge, leader, pairs, effort.rounds, cost) for leader in _leaders(racing, effort.leaders)]
    best = sorted([*racing, *refined], key=lambda each: -each.psnr)
    finalists = _distinct(best)[: effort.finalists]
    default = {each.rule: each for each in reversed(entrants)}
    entered = _distinct([*finalists, *(default[each.rule] for each in finalists)])
    cost.validation += entered[0].table.n * len(entered) * len(validation)
    ranked = judge.judged(entered, validation)
    return Ranking(ranked, {**by_rule, **_best_by_rule(ranked)})


def _best_by_rule(ranked: Sequence[Candidate]) -> dict[str, Candidate]:
    return {each.rule: each for each in reversed(ranked)}


def _leaders(ranked: Sequence[Candidate], count: int) -> list[Candidate]:
    """Return the best candidates of different rules or families."""
    first: dict[tuple[str, str], Candidate] = {}
    for each in ranked:
        first.setdefault((each.rule, each.grid.family), each)
    return list(first.values())[:count]


def _distinct(candidates: Iterable[Candidate]) -> list[Candidate]:
    return list({(each.rule, each.grid): each for each in candidates}.values())


def _refined(judge: Judge, leader: Candidate, pairs: Pairs, rounds: int, cost: Cost) -> Candidate:
    """Improve a candidate by a compass search over its grid's options: the best of 2 d steps, or half as long ones."""
    best, scale = leader, 1.0
    for _ in range(rounds):
        tried = judge.candidates((best.rule, grid) for grid in _neighbours(best.grid, scale))
        if not tried:
            break
        cost.training += best.table.n * len(tried) * len(pairs)
        found = judge.judged(tried, pairs)[0]
        if found.psnr > best.psnr:
            best = found
        else:
            scale /= 2
    return best


def _neighbours(grid: NamedGrid, scale: float) -> Iterator[NamedGrid]:
    """Yield the grids one step away in each option, in both directions."""
    if grid.family == "uniform":  # which is a member of a family with options
        grid = NamedGrid("kumaraswamy", (1.0, 1.0))
    kinds = LOGARITHMIC.get(grid.family, (False,) * len(grid.options))
    for i, logarithmic in enumerate(kinds[: len(grid.options)]):  # an option that is not given is the path's own
        for sign in (1.0, -1.0):
            step = sign * scale * STEPS[logarithmic]
            moved = grid.options[i] * math.exp(step) if logarithmic else grid.options[i] + step
            options = (*grid.options[:i], float(f"{moved:.3g}"), *grid.options[i + 1 :])
            yield NamedGrid(grid.family, options)
