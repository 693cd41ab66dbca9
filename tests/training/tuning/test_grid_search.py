from __future__ import annotations

import math
from collections.abc import Callable, Sequence
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
from tests.training.toys import as_model_field, cross_source, euler_table

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


def test_a_table_with_a_single_number_that_is_not_finite_is_left_out() -> None:
    good = rule(ab2)(NamedGrid("uniform"))
    rows = good.rows.clone()
    rows[1, 2] = math.nan
    bad = NonStationarySolver.from_rows(good.times, rows)
    chosen = Judge({"good": lambda grid: good, "bad": lambda grid: bad}, 2.0, lambda seen, best: None)
    (found,) = chosen.candidates([("bad", NamedGrid("uniform")), ("good", NamedGrid("uniform"))])
    assert (found.rule, found.psnr) == ("good", -math.inf)  # nobody has judged it yet
    assert "tensor" not in repr(found)


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


def test_finalists_are_ranked_by_their_mean_over_all_pairs_of_both_splits() -> None:
    train, validation = SOURCE.pairs("train", 8), SOURCE.pairs("validation", 24)
    ranking = search(judge(ab2=ab2), [("ab2", grid) for grid in COARSE], train, validation, HEATS, Cost())
    for each in ranking.finalists:
        ends = [ab2(pairs.field, pairs.x0, N, grid=str(each.grid)) for pairs in (train, validation)]
        values = psnr_per_sample(torch.cat(ends), torch.cat([train.x1, validation.x1]), 2.0)
        assert each.psnr == pytest.approx(float(values.mean()), abs=1e-9)
    assert len(ranking.finalists) > 1


def test_a_single_grid_without_options_wins_alone() -> None:
    ranking = search(judge(ab2=ab2), [("ab2", NamedGrid("chebyshev"))], *two_splits(), HEATS, Cost())
    assert [(each.rule, each.grid) for each in ranking.finalists] == [("ab2", NamedGrid("chebyshev"))]
    assert list(ranking.by_rule) == ["ab2"]


class Told(Judge):
    """A judge that is told what grids are worth, and notes which it is asked about together."""

    def __init__(self, value: Callable[[NamedGrid], float]) -> None:
        super().__init__({"told": lambda grid: euler_table(N)}, 2.0, lambda seen, best: None)
        self.value, self.asked = value, list[list[NamedGrid]]()

    def measure(self, candidates: Sequence[Candidate], pairs: Pairs) -> list[Candidate]:
        self.asked.append([each.grid for each in candidates])
        return sorted((replace(each, psnr=self.value(each.grid)) for each in candidates), key=lambda each: -each.psnr)


BEGIN = NamedGrid("kumaraswamy", (1.0, 1.0))
FIRST, *_, LAST = neighbours(BEGIN, 1.0)


def hill(grid: NamedGrid) -> float:
    """A parabola whose top is a third of a step away in one option, and half a step in the other."""
    return -sum(
        (math.log(option) / STEPS[True] - top) ** 2 for option, top in zip(grid.options, (1 / 3, 1 / 2), strict=True)
    )


HILLTOP = parabola_top(
    Candidate("told", BEGIN, euler_table(N), hill(BEGIN)), {g: hill(g) for g in neighbours(BEGIN, 1.0)}, 1.0
)


def asked_by(value: Callable[[NamedGrid], float], *heats: Heat) -> list[list[NamedGrid]]:
    """Return the batches that a race from BEGIN is judged in before it ends."""
    told = Told(value)
    search(told, [("told", BEGIN)], *two_splits(), heats, Cost())
    return told.asked


@pytest.mark.parametrize("top", [30.0, 0.0], ids=["peak", "plain"])
def test_steps_get_half_as_long_where_no_neighbour_is_better(top: float) -> None:
    rounds = asked_by(lambda grid: top if grid == BEGIN else 0.0, Heat(8, 1.0, leaders=1, rounds=3))
    around = [batch for batch in rounds if len(batch) == 4]
    assert around == [list(neighbours(BEGIN, scale)) for scale in (1.0, 0.5, 0.25)]


def test_steps_get_half_as_long_at_the_top_of_the_parabolas() -> None:
    assert HILLTOP is not None
    around = [batch for batch in asked_by(hill, Heat(8, 1.0, leaders=1, rounds=2)) if len(batch) == 4]
    assert around == [list(neighbours(BEGIN, 1.0)), list(neighbours(HILLTOP, 0.5))]


@pytest.mark.parametrize("better", [FIRST, LAST], ids=str)
def test_steps_stay_as_long_where_a_neighbour_is_the_best(better: NamedGrid) -> None:
    around = [
        batch for batch in asked_by(lambda grid: float(grid == better), Heat(8, 1.0, leaders=1, rounds=2)) if len(batch) == 4
    ]
    assert around == [list(neighbours(BEGIN, 1.0)), list(neighbours(better, 1.0))]


@pytest.mark.parametrize("heat", [Heat(8, 1.0), Heat(8, 1.0, leaders=1), Heat(8, 1.0, rounds=2)], ids=str)
def test_a_heat_refines_nothing_unless_it_has_leaders_and_rounds(heat: Heat) -> None:
    """The start is judged on training pairs and once more on validation pairs."""
    assert asked_by(hill, heat) == [[BEGIN], [BEGIN]]


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


@pytest.mark.parametrize("default", ["uniform", "logsnr:-1:0.5"])
def test_every_evaluation_is_counted(default: str) -> None:
    """Those of default grids too that no heat has left, here of two rules."""
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
    start_with = [(name, grid) for name in ("ab2", "euler") for grid in (NamedGrid.parse(default), *COARSE)]
    heats = (Heat(2, 0.5), Heat(8, 1.0, leaders=20, rounds=1))
    ranking = search(judge(ab2=ab2, euler=euler), start_with, train, validation, heats, cost)
    assert cost.training + cost.validation == sum(spent)
    assert cost.validation == N * len(validation) * len(ranking.finalists)


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


@pytest.mark.parametrize("family", ["kumaraswamy", "power", "shifted", "edm", "logsnr", "inner"])
def test_a_step_is_a_fifth_of_an_option_or_half_a_unit_of_log_snr(family: str) -> None:
    options = {"power": (2.0,), "shifted": (2.0,), "edm": (7.0, 0.05, 20.0)}.get(family, (-3.0, 4.0))
    options = (1.5, 2.0) if family == "kumaraswamy" else options
    around = list(neighbours(NamedGrid(family, options), 1.0))
    assert len(around) == 2 * len(options)
    for i, (up, down) in enumerate(zip(around[::2], around[1::2], strict=True)):
        units = family in {"logsnr", "inner"}
        ends = (options[i] + 0.5, options[i] - 0.5) if units else (options[i] * 1.2, options[i] / 1.2)
        assert (up.options[i], down.options[i]) == pytest.approx(ends, rel=2e-3)
        for grid in (up, down):
            assert (*grid.options[:i], options[i], *grid.options[i + 1 :]) == options


@pytest.mark.parametrize("grid", COARSE, ids=str)
def test_coarse_grids_are_there_on_the_usual_paths(grid: NamedGrid) -> None:
    times = time_grid(grid, CondOT(), (0.0, 1.0), 8)
    assert bool((times.diff() > 0).all())
    assert times.dtype == torch.float64
