"""Tuned classics: the best time grid for a classic rule, or the best rule and grid together, for one field and NFE.

What a user without a training budget should run, and what a trained solver has to be compared with. The search takes a few
samples of training noise and counts every evaluation; the grid that wins is recorded.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from bnsbench.contract.sources import BUILTIN
from bnsbench.errors import BnsbenchError, NotApplicableError, UsageError
from bnsbench.nonstationary.artefact import SolverArtefact
from bnsbench.nonstationary.tracing import NotTraceableError
from bnsbench.solvers.grids import NamedGrid
from bnsbench.training.problem import Cost, Problem, TrainingStatus
from bnsbench.training.tuning.classics import named_grid_rule
from bnsbench.training.tuning.grid_search import COARSE, GridRule, Heat, Judge, Ranking, search
from bnsbench.truth.noise import Split
from bnsbench.truth.pairs import Pairs
from bnsbench.truth.source import Source

RULES = (
    *("ab2", "ab3", "ab4", "ipndm[order=2]", "ipndm[order=3]", "ipndm", "deis"),
    *("unipc", "dpm++2m", "dpm++2s", "edm-heun", "midpoint", "rk4", "euler", "ddim"),
    *("taylor", "taylor[order=2]"),
)
"""What `tune` chooses among: the rules that are best on some field, at some NFE, once their grid fits, and those that
everybody knows."""

FEW = (
    NamedGrid("uniform"),
    *(NamedGrid("kumaraswamy", options) for options in ((0.8, 1.6), (1.0, 1.3), (1.2, 1.6), (1.0, 2.2), (1.4, 2.0))),
    *(NamedGrid("logsnr", bounds) for bounds in ((-5.0, 5.0), (-3.0, 3.0))),
    *(NamedGrid("inner", bounds) for bounds in ((-2.0, 3.0), (-1.0, 2.0))),
    *(NamedGrid("edm", options) for options in ((7.0, 0.05, 20.0), (5.0, 0.1, 5.0))),
)
"""The coarse grids where many rules are searched at once."""

PAIRS = 8
"""Samples of training noise, and as many of validation noise: grids rank much alike on all samples."""
ONE_RULE = (Heat(2, 0.4), Heat(4, 0.4, leaders=3, rounds=2), Heat(PAIRS, 0.5, leaders=2, rounds=3))
"""The race over the grids of one rule."""
ALL_RULES = (Heat(1, 0.12), Heat(3, 0.2, leaders=3, rounds=2), Heat(PAIRS, 0.5, leaders=2, rounds=3))
"""The race over rules and grids.

On digits models at 4 and 8 NFE it finds as good ones as a race on 3, 8 and 16 pairs with twice the evaluations.
"""
FEWEST = 4
"""Pairs without which there is nothing to choose by."""
THOROUGH = (Heat(4, 0.2), Heat(8, 0.3, leaders=4, rounds=2), Heat(16, 0.5, leaders=3, rounds=4))
"""The race for comparisons, in which the grids of all rules are looked at more closely."""
TOLERANCE = 1e-5
"""Of the ground truth of the search, at the finest: it resolves 80 dB and more, and no classic needs that."""


@dataclass(frozen=True)
class Tuned:
    """What a search has come to: its ranking and cost, how many candidates it has judged, and on how many pairs at most."""

    ranking: Ranking
    cost: Cost
    seen: int
    pairs: int


def tune_rule(problem: Problem, nfe: int, rule: str, pairs: int = PAIRS) -> SolverArtefact:
    """Return the classic ``rule`` on the best grid that is found for the field.

    rule: a classic solver's selector. pairs: to search on, and as many to choose on.
    Raises UsageError for an unknown rule, NotApplicableError for one without a grid at this NFE.
    """
    began = time.perf_counter()
    on_grid, default = named_grid_rule(problem, nfe, rule)
    start = [(rule, grid) for grid in (default, *(grid for grid in COARSE if grid != default))]
    found = _search(problem, nfe, {rule: on_grid}, start, pairs, ONE_RULE)
    return _artefact(problem, f"{rule}, best grid", found, began)


def tune(problem: Problem, nfe: int, rules: str = "", pairs: int = PAIRS) -> SolverArtefact:
    """Return the best classic rule on its best grid for the field.

    rules: selectors separated by spaces, `RULES` if empty; those that cannot spend ``nfe`` are left out. pairs: as above.
    """
    began = time.perf_counter()
    return _artefact(problem, "tuned", tuned_classics(problem, nfe, rules.split() or RULES, pairs), began)


def tuned_classics(
    problem: Problem, nfe: int, rules: Sequence[str] = RULES, pairs: int = PAIRS, heats: Sequence[Heat] = ALL_RULES
) -> Tuned:
    """Return the ranking of classic rules, each on its best grid; those that cannot spend ``nfe`` are left out."""
    known = _rules(problem, nfe, rules)
    start = [(name, grid) for name, (_, default) in known.items() for grid in (default, *(g for g in FEW if g != default))]
    return _search(problem, nfe, {name: on_grid for name, (on_grid, _) in known.items()}, start, pairs, heats)


def _rules(problem: Problem, nfe: int, names: Sequence[str]) -> dict[str, tuple[GridRule, NamedGrid]]:
    """Return the rules that can spend the NFE, each with its own default grid."""
    known = {}
    for name in names:
        try:
            known[name] = named_grid_rule(problem, nfe, name)
        except NotTraceableError:
            raise
        except NotApplicableError:  # it cannot spend this NFE
            continue
    if not known:
        raise NotApplicableError(f"None of the rules {', '.join(names)} can spend {nfe} evaluations.")
    return known


def _search(
    problem: Problem,
    nfe: int,
    rules: Mapping[str, GridRule],
    start: Sequence[tuple[str, NamedGrid]],
    count: int,
    heats: Sequence[Heat],
) -> Tuned:
    if count < FEWEST:
        raise UsageError(f"A grid is searched on {FEWEST} pairs or more, not {count}.")
    source = problem.source.coarser(TOLERANCE, count)
    cost = Cost()

    def pairs_of(split: Split) -> Pairs:
        found = source.pairs(split, count)
        cost.truth(f"{split}, tolerance {source.truth_tolerance:g}", found)
        return found

    def report(seen: int, best: float) -> None:
        spent = sum(cost.forwards(problem.source).values())
        problem.report(TrainingStatus(nfe, "grid search", min(seen, total), total, best, forwards=spent))

    train, validation = pairs_of("train"), pairs_of("validation")
    total = 2 * len(start) + sum(6 * heat.leaders * heat.rounds for heat in heats)
    judge = Judge(rules, source.model.data_range, report)
    return Tuned(search(judge, start, train, validation, _fit_heats(heats, source, count), cost), cost, judge.seen, count)


def _fit_heats(heats: Sequence[Heat], source: Source, count: int) -> list[Heat]:
    """Return the heats, the last of them on all pairs, and each with one of every guidance scale at least."""
    scales = len(source.guidance) if isinstance(source.guidance, tuple) else 1
    wanted = [*(heat.pairs for heat in heats[:-1]), count]
    return [replace(heat, pairs=min(max(pairs, scales), count)) for heat, pairs in zip(heats, wanted, strict=True)]


def _artefact(problem: Problem, name: str, found: Tuned, began: float) -> SolverArtefact:
    best = found.ranking.finalists[0]
    if best.psnr == float("-inf"):
        raise BnsbenchError("No grid gave finite samples; check the field's interval and precision.")
    record = {
        "kind": "tuned",
        "rule": _without_provider(best.rule),
        "grid": best.grid.in_words,
        "selector": f"{best.grid}",
        "psnr": best.psnr,
        "pairs": found.pairs,
        "validation_pairs": found.pairs,
        "candidates": found.seen,
        "finalists": [
            {"rule": _without_provider(each.rule), "grid": str(each.grid), "psnr": each.psnr}
            for each in found.ranking.finalists
        ],
        **found.cost.record(problem.source),
    }
    return problem.artefact(name, best.table, record, began)


def _without_provider(rule: str) -> str:
    return rule.removeprefix(f"{BUILTIN}/")
