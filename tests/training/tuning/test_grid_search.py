from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from bnsbench.errors import UsageError
from bnsbench.flows.paths import CondOT
from bnsbench.nonstationary.table import NonStationarySolver
from bnsbench.nonstationary.tracing import trace
from bnsbench.solvers.adams_bashforth import ab2
from bnsbench.solvers.grids import NamedGrid, time_grid
from bnsbench.solvers.runge_kutta import euler
from bnsbench.training.problem import Cost
from bnsbench.training.tuning.grid_search import (
    COARSE,
    REACH,
    STEPS,
    Candidate,
    Heat,
    Judge,
    neighbours,
    parabola_top,
    search,
)
from bnsbench.truth.pairs import Pairs
from bnsbench.truth.psnr import psnr_per_sample
from tests.training.toys import as_model_field, cross_source

SOURCE = cross_source()
N = 4
HEATS = (Heat(2, 0.5), Heat(4, 0.3, leaders=1, rounds=2), Heat(8, 0.3, leaders=1, rounds=3))


def rule(function):
    return lambda grid: trace(lambda field, x0: function(field, x0, N, grid=grid), CondOT())


def judge(**rules) -> Judge:
    return Judge({name: rule(function) for name, function in rules.items()}, 2.0, lambda seen, best: None)


def test_candidates_are_judged_by_their_psnr_and_sorted() -> None:
    pairs = SOURCE.pairs("train", 16)
    chosen = judge(ab2=ab2, euler=euler)
    found = chosen.measure(chosen.candidates([("euler", NamedGrid("uniform")), ("ab2", NamedGrid("quadratic"))]), pairs)
    for each in found:
        function = {"ab2": ab2, "euler": euler}[each.rule]
        expected = psnr_per_sample(function(pairs.field, pairs.x0, N, grid=str(each.grid)), pairs.x1, 2.0).mean()
        assert each.psnr == pytest.approx(float(expected))
    assert found[0].psnr > found[1].psnr
    assert chosen.seen == 2


def test_grids_that_are_not_there_are_left_out() -> None:
    chosen = judge(ab2=ab2)
    found = chosen.candidates([("ab2", NamedGrid("logsnr", (4.0, -4.0))), ("ab2", NamedGrid("uniform"))])
    assert [each.grid.family for each in found] == ["uniform"]
    with pytest.raises(UsageError, match="None of the time grids"):
        search(chosen, [("ab2", NamedGrid("logsnr", (4.0, -4.0)))], *two_splits(), HEATS, Cost())


def test_states_that_are_not_finite_come_last() -> None:
    chosen = judge(ab2=ab2)
    good = chosen.candidates([("ab2", NamedGrid("uniform"))])[0]
    bad = type(good)("bad", good.grid, NonStationarySolver.from_rows(good.table.times, good.table.rows * 1e200))
    assert [each.rule for each in chosen.measure([bad, good], SOURCE.pairs("train", 8))] == ["ab2", "bad"]


def two_splits() -> tuple[Pairs, Pairs]:
    return SOURCE.pairs("train", 8), SOURCE.pairs("validation", 8)


def test_a_search_finds_what_trying_everything_finds() -> None:
    """Exhaustively over a fine lattice of the family in which the best grid lies."""
    chosen, (train, validation) = judge(ab2=ab2), two_splits()
    found = search(chosen, [("ab2", grid) for grid in COARSE], train, validation, HEATS, Cost()).finalists[0]
    lattice = [NamedGrid("kumaraswamy", (p / 10, q / 10)) for p in range(6, 25, 2) for q in range(6, 32, 2)]
    best = chosen.measure(chosen.candidates(("ab2", grid) for grid in lattice), train)[0]
    again = chosen.measure([found], train)[0]
    assert again.psnr > best.psnr - 0.3
    uniform = chosen.measure(chosen.candidates([("ab2", NamedGrid("uniform"))]), train)[0]
    assert again.psnr > uniform.psnr + 1


def test_the_default_grid_is_among_those_judged_last() -> None:
    """So that a tuned rule never is worse on the validation pairs than the plain one."""
    chosen, (train, validation) = judge(ab2=ab2), two_splits()
    ranking = search(chosen, [("ab2", grid) for grid in COARSE], train, validation, HEATS, Cost())
    assert NamedGrid("uniform") in {each.grid for each in ranking.finalists}
    assert [each.psnr for each in ranking.finalists] == sorted((each.psnr for each in ranking.finalists), reverse=True)
    assert ranking.by_rule["ab2"] == ranking.finalists[0]


def test_the_best_grid_of_every_rule_is_the_best_that_was_seen() -> None:
    """Also one that was found by refinement in the last heat."""
    seen: dict[tuple[str, int], float] = {}

    class Watching(Judge):
        def measure(self, candidates, pairs):
            found = super().measure(candidates, pairs)
            for each in found:
                seen[each.rule, len(pairs)] = max(seen.get((each.rule, len(pairs)), -math.inf), each.psnr)
            return found

    watching = Watching({"ab2": rule(ab2), "euler": rule(euler)}, 2.0, lambda seen, best: None)
    start = [(name, grid) for name in ("ab2", "euler") for grid in COARSE]
    heats = (Heat(2, 0.5), Heat(6, 1.0, leaders=20, rounds=2))
    train, validation = SOURCE.pairs("train", 6), SOURCE.pairs("validation", 8)
    ranking = search(watching, start, train, validation, heats, Cost())
    late = set(watching.rules) - {each.rule for each in ranking.finalists}
    assert late
    for name in late:
        assert ranking.by_rule[name].psnr == seen[name, 6]


def test_a_jump_goes_to_the_top_of_a_parabola() -> None:
    """Values that are a parabola in the logarithm of one option and in the other: its top, within the reach."""

    def value(grid: NamedGrid) -> float:
        p, q = grid.options
        return 30 - 40 * (math.log(p) - 0.1) ** 2 - 10 * (math.log(q) - 0.3) ** 2

    begin = NamedGrid("kumaraswamy", (1.0, 1.0))
    centre = Candidate("ab2", begin, None, value(begin))  # type: ignore[arg-type]  # needs no table
    around = {grid: value(grid) for grid in neighbours(centre.grid, 1.0)}
    top = parabola_top(centre, around, 1.0)
    assert top is not None
    assert top.options == pytest.approx((math.exp(0.1), math.exp(0.3)), rel=5e-3)
    far = {grid: value(grid) for grid in neighbours(centre.grid, 0.25)}
    top = parabola_top(centre, far, 0.25)
    assert top is not None
    assert top.options[1] == pytest.approx(math.exp(REACH * 0.25 * STEPS[True]), rel=5e-3)


def test_a_jump_goes_a_step_uphill_where_there_is_no_top() -> None:
    centre = Candidate("ab2", NamedGrid("logsnr", (-3.0, 4.0)), None, 0.0)  # type: ignore[arg-type]  # needs no table
    around = dict(zip(neighbours(centre.grid, 1.0), (1.0, -1.0, -2.0, 3.0), strict=True))
    top = parabola_top(centre, around, 1.0)
    assert top is not None
    assert top.options == (-2.5, 3.5)
    assert parabola_top(centre, {}, 1.0) is None


def test_every_evaluation_is_counted() -> None:
    spent = []

    class Watched:
        """A field that notes the size of every batch that it is asked about, in all of its parts."""

        def __init__(self, field) -> None:
            self.field, self.path, self.interval = field, field.path, field.interval

        def part(self, index):
            return Watched(self.field.part(index))

        def __call__(self, t, x):
            spent.append(len(x))
            return self.field(t, x)

    train, validation = (replace(pairs, field=as_model_field(Watched(pairs.field))) for pairs in two_splits())
    cost = Cost()
    start_with = [(name, grid) for name in ("ab2", "euler") for grid in COARSE]
    search(judge(ab2=ab2, euler=euler), start_with, train, validation, HEATS, cost)
    assert cost.training + cost.validation == sum(spent)


def test_a_step_moves_one_option() -> None:
    around = list(neighbours(NamedGrid("kumaraswamy", (1.0, 2.0)), 1.0))
    factor = math.exp(STEPS[True])
    expected = {(factor, 2.0), (round(1 / factor, 3), 2.0), (1.0, 2 * factor), (1.0, round(2 / factor, 2))}
    assert {grid.options for grid in around} == expected
    assert {grid.options for grid in neighbours(NamedGrid("logsnr", (-3.0, 4.0)), 0.5)} == {
        (-2.75, 4.0),
        (-3.25, 4.0),
        (-3.0, 4.25),
        (-3.0, 3.75),
    }
    assert {grid.family for grid in neighbours(NamedGrid("uniform"), 1.0)} == {"kumaraswamy"}
    assert list(neighbours(NamedGrid("chebyshev"), 1.0)) == []
    assert list(neighbours(NamedGrid("edm"), 1.0)) == []
    assert len(list(neighbours(NamedGrid("edm", (7.0,)), 1.0))) == 2


@pytest.mark.parametrize("grid", COARSE, ids=str)
def test_coarse_grids_are_there_on_the_usual_paths(grid: NamedGrid) -> None:
    times = time_grid(grid, CondOT(), (0.0, 1.0), 8)
    assert bool((times.diff() > 0).all())
    assert times.dtype == torch.float64
