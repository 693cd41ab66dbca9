from __future__ import annotations

import itertools

import pytest
import torch

from bnsbench.errors import NotApplicableError, UsageError
from bnsbench.flows.paths import VP, CondOT
from bnsbench.nonstationary.tracing import NotTraceableError, trace
from bnsbench.solvers.ddim import ddim
from bnsbench.solvers.deis import deis
from bnsbench.solvers.grids import time_grid
from bnsbench.solvers.runge_kutta import euler, midpoint, rk4
from bnsbench.solvers.specs import SOLVERS
from bnsbench.training.optimisers.selection import psnr
from bnsbench.training.problem import Classic, Cost, Problem
from bnsbench.training.recipes.initial import start_grids
from bnsbench.training.tuning.classics import JUDGED, best_grid, classic, rule_on_grid
from bnsbench.truth.pairs import PairSource
from tests.flows.toy import SineField
from tests.training.toys import cross, cross_source, uniform

SOURCE = cross_source()


@pytest.mark.parametrize(("name", "function", "steps"), [("rk4", rk4, 2), ("deis", deis, 8), ("midpoint", midpoint, 4)])
@pytest.mark.parametrize("grid", ["quadratic", "shifted:3"])
def test_a_rule_on_a_grid_samples_as_the_rule_does(name: str, function, steps: int, grid: str) -> None:
    """The solver itself, run on a field that is linear in nothing."""
    rule, found = rule_on_grid(Problem(SOURCE), 8, name)
    assert found == steps
    times = time_grid(grid, CondOT(), (0.0, 1.0), steps)
    x0 = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = function(SineField(), x0, 8, grid=grid)
    torch.testing.assert_close(rule(times)(SineField(), x0), expected, rtol=1e-12, atol=1e-12)


TABLEAUS = {
    "euler": ([[0.0]], [1.0], [0.0]),
    "midpoint": ([[0.0, 0.0], [0.5, 0.0]], [0.0, 1.0], [0.0, 0.5]),
    "rk4": (
        [[0.0, 0.0, 0.0, 0.0], [0.5, 0.0, 0.0, 0.0], [0.0, 0.5, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]],
        [1 / 6, 1 / 3, 1 / 3, 1 / 6],
        [0.0, 0.5, 0.5, 1.0],
    ),
}
"""Butcher's A, b and c from the textbooks."""


@pytest.mark.parametrize("name", TABLEAUS)
def test_a_runge_kutta_rule_on_a_grid_has_the_rows_of_its_tableau(name: str) -> None:
    inner, weights, nodes = TABLEAUS[name]
    stages, grid = len(weights), [0.0, 0.2, 0.5, 1.0]
    rule, steps = rule_on_grid(Problem(SOURCE), 3 * stages, name)
    assert steps == 3
    times, states, reached = [], [], torch.zeros(3 * stages, dtype=torch.float64)  # what of each velocity a state holds
    for k, (t, after) in enumerate(itertools.pairwise(grid)):
        own, h = slice(k * stages, (k + 1) * stages), after - t
        times += [t + c * h for c in nodes]
        for row in (*inner, weights):
            state = reached.clone()
            state[own] += h * torch.tensor(row, dtype=torch.float64)
            states.append(state)
        reached = states.pop()
    table = rule(torch.tensor(grid, dtype=torch.float64))
    assert table.times.tolist() == pytest.approx([*times, 1.0])
    assert torch.equal(table.a, torch.ones(3 * stages, dtype=torch.float64))
    # The first state is x_0 itself; the last comes after all stages.
    torch.testing.assert_close(table.b, torch.stack([*states[1:], reached]))


@pytest.mark.parametrize("spec", [spec for spec in SOLVERS if spec.kind == "traced"], ids=lambda spec: spec.name)
def test_every_built_in_rule_has_a_table_that_follows_its_grid(spec) -> None:
    nfe = 4 * spec.stages
    rule, steps = rule_on_grid(Problem(SOURCE), nfe, spec.name)
    assert steps == 4
    tables = [rule(uniform(steps) ** power) for power in (1.0, 1.2)]
    for table in tables:
        assert table.nfe == nfe
        assert torch.isfinite(table.rows).all()
        assert (float(table.times[0]), float(table.times[-1])) == (0.0, 1.0)
    assert not torch.allclose(tables[0].times, tables[1].times)
    if spec.stages > 1 or spec.name in {"euler", "ab4", "ddim", "unipc", "deis"}:
        torch.testing.assert_close(tables[1].times[:: spec.stages], uniform(steps) ** 1.2)


def test_grids_of_other_intervals_keep_their_ends() -> None:
    model = cross(VP(), 0.999)
    source = PairSource(model, "vp", tolerance=1e-4)
    rule, _ = rule_on_grid(Problem(source), 4, "ddim")
    times = 0.999 * uniform(4) ** 2
    table = rule(times)
    torch.testing.assert_close(table.times, times)
    expected = trace(lambda field, x0: ddim(field, x0, 4, grid="nodes:0.0625:0.25:0.5625"), VP(), (0.0, 0.999))
    torch.testing.assert_close(table.rows, expected.rows)


def test_rules_of_plugins_are_reached_through_the_problem() -> None:
    asked: list[str] = []

    def known(name: str) -> Classic:
        asked.append(name)
        return Classic(midpoint, 2)

    rule, steps = rule_on_grid(Problem(SOURCE, classic=known), 4, "acme/fancy")
    assert asked == ["acme/fancy"]
    assert steps == 2
    torch.testing.assert_close(rule(uniform(2)).rows, rule_on_grid(Problem(SOURCE), 4, "midpoint")[0](uniform(2)).rows)


def test_what_takes_no_grid_at_a_budget_is_refused() -> None:
    gridless = Problem(SOURCE, classic=lambda name: Classic(euler, 0))
    with pytest.raises(NotApplicableError, match=r"'fixed' takes no time grid at 4 NFE"):
        rule_on_grid(gridless, 4, "fixed")
    with pytest.raises(NotApplicableError, match="'rk4' takes no time grid at 7 NFE"):
        rule_on_grid(Problem(SOURCE), 7, "rk4")
    with pytest.raises(UsageError, match="no built-in solver 'magic' to learn from"):
        rule_on_grid(Problem(SOURCE), 4, "magic")
    with pytest.raises(UsageError, match="no built-in solver 'bns'"):
        classic(Problem(SOURCE), "bns")


def test_rules_that_are_not_linear_are_refused_at_once() -> None:
    clipping = Classic(lambda field, x0, nfe, grid: euler(field, x0, nfe, grid=grid).clamp(-1, 1))
    with pytest.raises(NotTraceableError, match="not linear"):
        rule_on_grid(Problem(SOURCE, classic=lambda name: clipping), 4, "clipping")


def test_the_grid_with_the_best_psnr_is_taken_and_paid_for() -> None:
    rule, steps = rule_on_grid(Problem(SOURCE), 4, "unipc")
    grids = start_grids(CondOT(), (0.0, 1.0), steps)
    cost = Cost()
    found = best_grid(Problem(SOURCE), rule, 4, grids, cost)
    assert cost.teacher == SOURCE.pairs("train", JUDGED).truth_evaluations > 0
    pairs = SOURCE.pairs("train", JUDGED)
    values = {name: psnr(rule(times), pairs, 2.0) for name, times in grids.items()}
    best = max(values, key=lambda name: values[name])
    assert torch.equal(found, grids[best])
    assert min(values.values()) < values[best] - 1
    assert cost.training == len(grids) * 4 * JUDGED
