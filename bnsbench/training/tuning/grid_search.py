"""Searching a classic rule's time grid: a race of coarse candidates, with steps in the options of those that lead."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch

from bnsbench.errors import UsageError
from bnsbench.nonstationary.table import NonStationarySolver
from bnsbench.solvers.grids import NamedGrid
from bnsbench.training.optimisers.rollout import end_states
from bnsbench.training.optimisers.selection import mean_psnr
from bnsbench.training.problem import Cost
from bnsbench.truth.pairs import Pairs

GridRule = Callable[[NamedGrid], NonStationarySolver]
"""A classic solver of one NFE as a function of its grid; UsageError where there is no such grid."""

LOGARITHMIC = {"kumaraswamy": (True, True), "power": (True,), "shifted": (True,), "edm": (True, True, True)}
"""Families with options that are searched by their logarithms, option by option; those of all others are log-SNR."""
STEPS = {True: math.log(1.2), False: 0.5}
"""The first steps of the search: a fifth of an option, half a unit of log-SNR."""
REACH = 2.0
"""How many steps a jump goes at most."""

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
    table: NonStationarySolver = field(repr=False)
    psnr: float = -math.inf


Trial = Callable[[Iterable[NamedGrid]], Sequence[Candidate]]
"""Measures grids: those of them that there are here, as candidates."""


@dataclass(frozen=True)
class Ranking:
    """What a search has found: the finalists by their PSNR on all pairs, and the best grid seen of every rule."""

    finalists: Sequence[Candidate]
    by_rule: Mapping[str, Candidate]


@dataclass(frozen=True)
class Heat:
    """A heat of the race, in which all candidates that are left run on the same training pairs.

    pairs: so many. kept: the share of the candidates that goes on. leaders: how many of those are refined on these pairs.
    rounds: of refinement, each of which tries 2 d steps in the d options of a leader, and a jump.
    """

    pairs: int
    kept: float
    leaders: int = 0
    rounds: int = 0


FINALISTS = 4
"""Candidates that are judged on validation pairs, and the fewest that a heat leaves."""


class Judge:
    """Measures candidates on pairs and remembers how many candidates there were.

    report: called with the number of candidates judged so far and the best PSNR of the last batch.
    """

    def __init__(self, rules: Mapping[str, GridRule], data_range: float, report: Callable[[int, float], None]) -> None:
        self.rules, self.data_range, self.report = rules, data_range, report
        self.seen = 0

    def candidates(self, grids: Iterable[tuple[str, NamedGrid]]) -> list[Candidate]:
        """Return the rules on those of the grids that there are here."""
        return [made for rule, grid in grids if (made := self._candidate(rule, grid)) is not None]

    def measure(self, candidates: Sequence[Candidate], pairs: Pairs) -> list[Candidate]:
        """Return the candidates with their PSNR on the pairs, the best first."""
        truth, weights = pairs.x1.flatten(1).double(), pairs.sample_weights()
        ends = end_states([each.table for each in candidates], pairs.field, pairs.x0)
        values = [mean_psnr((end.double() - truth).square().mean(1), weights, self.data_range) for end in ends]
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


def search(
    judge: Judge,
    start: Sequence[tuple[str, NamedGrid]],
    train: Pairs,
    validation: Pairs,
    heats: Sequence[Heat],
    cost: Cost,
) -> Ranking:
    """Return what a race over rules and coarse grids, with the refinement of its leaders on the way, finds.

    start: rules and coarse grids, the grid that a rule has by default first. Heats on more and more training pairs leave
    ever fewer of them; the leaders of a heat, of different rules or families, are improved step by step in their grids'
    options. Those whom nobody beats on the training pairs are judged on the validation pairs as well, beside their rules'
    default grids. UsageError if no candidate is there on this path.
    """
    racing = entrants = judge.candidates(start)
    if not entrants:
        raise UsageError("None of the time grids that are searched increases here.")
    by_rule: dict[str, Candidate] = {}
    for heat in heats:
        pairs = train.part(slice(heat.pairs))
        racing = judge.measure(racing, pairs)
        cost.training += racing[0].table.nfe * len(racing) * len(pairs)
        by_rule |= _best_by_rule(racing)
        racing = racing[: max(FINALISTS, math.ceil(heat.kept * len(racing)))]
        refined = [
            refine(leader, _trial(judge, leader, pairs, cost), heat.rounds) for leader in leaders(racing, heat.leaders)
        ]
        racing = sorted(_without_repeats([*racing, *refined]), key=lambda each: -each.psnr)
        by_rule |= _best_by_rule(racing)
    ranked = _rank_finalists(judge, racing[:FINALISTS], entrants, pairs, validation, cost)
    return Ranking(ranked, {**by_rule, **_best_by_rule(ranked)})


def _rank_finalists(
    judge: Judge,
    finalists: Sequence[Candidate],
    entrants: Sequence[Candidate],
    train: Pairs,
    validation: Pairs,
    cost: Cost,
) -> list[Candidate]:
    """Return the finalists and their rules' default grids, the best first, by their PSNR on training and validation pairs.

    Either alone is few: a search over two or three options hardly adapts to single samples, and eight fresh ones may lie.
    """
    first = {each.rule: each for each in reversed(entrants)}
    known = {(each.rule, each.grid) for each in finalists}
    default = [first[rule] for rule in dict.fromkeys(each.rule for each in finalists)]
    late = [each for each in default if (each.rule, each.grid) not in known]
    entered = [*finalists, *(judge.measure(late, train) if late else ())]
    cost.training += finalists[0].table.nfe * len(late) * len(train)
    cost.validation += finalists[0].table.nfe * len(entered) * len(validation)
    before = {(each.rule, each.grid): each.psnr for each in entered}
    share = len(train) / (len(train) + len(validation))

    def on_all(each: Candidate) -> Candidate:
        return replace(each, psnr=share * before[each.rule, each.grid] + (1 - share) * each.psnr)

    return sorted(map(on_all, judge.measure(entered, validation)), key=lambda each: -each.psnr)


def _best_by_rule(ranked: Sequence[Candidate]) -> dict[str, Candidate]:
    return {each.rule: each for each in reversed(ranked)}


def leaders(ranked: Sequence[Candidate], count: int) -> list[Candidate]:
    """Return the best candidates of different rules or families, from some whose best ones come first."""
    first: dict[tuple[str, str], Candidate] = {}
    for each in ranked:
        first.setdefault((each.rule, each.grid.family), each)
    return list(first.values())[:count]


def _without_repeats(candidates: Iterable[Candidate]) -> list[Candidate]:
    return list({(each.rule, each.grid): each for each in candidates}.values())


def _trial(judge: Judge, leader: Candidate, pairs: Pairs, cost: Cost) -> Trial:
    """Return what judges the leader's rule on other grids."""

    def tried(grids: Iterable[NamedGrid]) -> list[Candidate]:
        found = judge.candidates((leader.rule, grid) for grid in grids)
        cost.training += leader.table.nfe * len(found) * len(pairs)
        return judge.measure(found, pairs) if found else []

    return tried


def refine(leader: Candidate, tried: Trial, rounds: int) -> Candidate:
    """Improve a candidate in its grid's options: by the best of 2 d steps, or a jump to the top of parabolas through them.

    Where neither is better, the steps get half as long.

    Args:
        leader: the candidate.
        tried: measures other grids.
        rounds: at most.
    """
    best, scale = leader, 1.0
    for _ in range(rounds):
        around = tried(neighbours(best.grid, scale))
        if not around:
            break
        top = parabola_top(best, {each.grid: each.psnr for each in around}, scale)
        found = max([*around, *tried([top] if top is not None else [])], key=lambda each: each.psnr)
        if found.psnr <= best.psnr or found.grid == top:
            scale /= 2
        best = max(best, found, key=lambda each: each.psnr)
    return best


def parabola_top(centre: Candidate, around: Mapping[NamedGrid, float], scale: float) -> NamedGrid | None:
    """Return the grid at the top of the parabolas through a candidate and its neighbours, one for each option.

    No further than REACH steps away; along an option in which the values have no top, one step towards the better. None if
    that is the candidate's own grid or one of its neighbours.
    """
    steps = list(neighbours(centre.grid, scale))
    options = list(_with_options(centre.grid).options)
    for i, (up, down) in enumerate(zip(steps[::2], steps[1::2], strict=True)):
        above, below = (around.get(grid, -math.inf) for grid in (up, down))
        if not math.isfinite(above - below):
            continue
        bend = 2 * centre.psnr - above - below
        shift = (above - below) / (2 * bend) if bend > 0 else math.copysign(1.0, above - below)
        options[i] = _step_option(centre.grid, i, scale * max(-REACH, min(REACH, shift)))
    top = NamedGrid(steps[0].family, tuple(options))
    return None if top in around or top == _with_options(centre.grid) else top


def neighbours(grid: NamedGrid, scale: float) -> Iterator[NamedGrid]:
    """Yield the grids one step away in each option, up and down."""
    grid = _with_options(grid)
    for i in range(len(grid.options)):
        for sign in (1.0, -1.0):
            yield NamedGrid(grid.family, (*grid.options[:i], _step_option(grid, i, sign * scale), *grid.options[i + 1 :]))


def _with_options(grid: NamedGrid) -> NamedGrid:
    """Return the grid; the uniform one as the member of a family with options that it is."""
    return NamedGrid("kumaraswamy", (1.0, 1.0)) if grid.family == "uniform" else grid


def _step_option(grid: NamedGrid, i: int, steps: float) -> float:
    """Return the option ``i`` so many steps away, in three digits."""
    grid = _with_options(grid)
    logarithmic = LOGARITHMIC.get(grid.family, (False,) * len(grid.options))[i]
    step = steps * STEPS[logarithmic]
    return float(f"{grid.options[i] * math.exp(step) if logarithmic else grid.options[i] + step:.3g}")
