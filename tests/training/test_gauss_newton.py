from __future__ import annotations

import itertools
import math

import pytest
import torch

from bnsbench.flows.fields import FunctionField
from bnsbench.flows.pairs import Pairs, PairSource
from bnsbench.flows.paths import CondOT
from bnsbench.models.mixtures import digits_gmm
from bnsbench.training.gauss_newton import Schedule, _damped_step, _sketch, evaluate, minimise
from bnsbench.training.problem import Cost
from bnsbench.training.rollout import gradient_rows
from bnsbench.training.table import Table, lower


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    return PairSource(digits_gmm(), "digits-gmm", tolerance=1e-6).pairs("train", 64)


def euler_table(n: int) -> Table:
    times = torch.linspace(0, 1, n + 1, dtype=torch.float64)
    rows = torch.tril(torch.full((n, n + 1), 1 / n, dtype=torch.float64), 1)
    rows[:, 0] = 1
    return Table(times, rows)


def test_the_last_row_is_projected(pairs: Pairs) -> None:
    table = euler_table(4)
    cost = Cost()
    projected = evaluate(table, pairs, cost)
    assert cost.training == 4 * 64
    assert torch.equal(projected.table.rows[:3], table.rows[:3])
    plain = (table.solver()(pairs.field, pairs.x0) - pairs.x1).flatten(1).square().mean(1).log().mean()
    assert projected.loss < float(plain) - 1
    again = (projected.table.solver()(pairs.field, pairs.x0) - pairs.x1).flatten(1).square().mean(1).log().mean()
    assert projected.loss == pytest.approx(float(again), abs=1e-6)


def test_the_gradient_is_exact_and_the_sketch_is_unbiased(pairs: Pairs) -> None:
    n, d = 3, 64
    iterate = evaluate(euler_table(n), pairs, Cost())
    schedule = Schedule(rows_per_parameter=64 * 100 / (n - 1 + n * (n + 3) / 2))
    gradient, curvature = _sketch(iterate, pairs, schedule, torch.Generator().manual_seed(0), Cost())

    def loss(theta: torch.Tensor) -> float:
        moved = iterate.table.moved(theta)
        end = moved.solver()(pairs.field, pairs.x0)
        return float((end - pairs.x1).flatten(1).square().mean(1).log().mean())

    zero = torch.zeros_like(gradient)
    for k in range(len(zero)):
        step = zero.clone()
        step[k] = 1e-6
        slope = (loss(step) - loss(-step)) / 2e-6
        assert 2 * float(gradient[k]) == pytest.approx(slope, rel=1e-4, abs=1e-4)

    identity = torch.eye(d, dtype=torch.float64)[:, None].expand(d, 64, d)
    rows = gradient_rows(iterate.table, pairs.field, pairs.x0, iterate.rollout, identity)
    jacobian = torch.cat([rows[:, :, : n - 1] @ iterate.table.time_jacobian(), rows[:, :, n - 1 :]], dim=2)
    errors = iterate.rollout.errors(pairs.x1.flatten(1))
    exact = torch.einsum("dsp,dsq,s->pq", jacobian, jacobian, 1 / errors) / (64 * d)
    scale = exact.diagonal().sqrt()
    difference = (curvature - exact) / scale / scale[:, None]
    assert difference.abs().max() < 0.1


def test_steps_solve_the_damped_system() -> None:
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(5, 5, generator=generator, dtype=torch.float64)
    curvature, gradient = root @ root.T + torch.eye(5), torch.randn(5, generator=generator, dtype=torch.float64) * 0.1
    move = _damped_step(gradient, curvature, 0)(0.5)
    damped = curvature + 0.5 * torch.diag(curvature.diagonal())
    torch.testing.assert_close(damped @ move, -gradient)
    bounded = _damped_step(1e3 * gradient, curvature, 3)(1e-6)
    assert bounded[:3].abs().max() <= 2.0


def test_minimise_descends_monotonically_and_far(pairs: Pairs) -> None:
    losses: list[float] = []
    tables: list[Table] = []

    def observe(iteration: int, iterate, damping: float) -> bool:
        losses.append(iterate.loss)
        tables.append(iterate.table)
        return False

    cost = Cost()
    minimise(euler_table(4), pairs, 0, Schedule(iterations=12), cost, observe)
    assert all(after <= before for before, after in itertools.pairwise(losses))
    gained_db = (losses[0] - losses[-1]) * 10 / math.log(10)
    assert gained_db > 10
    assert (tables[-1].times.diff() > 0).all()
    assert cost.training > 0


def test_minimise_is_reproducible_and_can_be_stopped(pairs: Pairs) -> None:
    ends = []
    for _ in range(2):
        seen: list[Table] = []
        minimise(euler_table(3), pairs, 5, Schedule(iterations=3), Cost(), lambda i, it, d, seen=seen: seen.append(it.table))
        ends.append(seen[-1])
    assert torch.equal(ends[0].rows, ends[1].rows)
    assert torch.equal(ends[0].times, ends[1].times)
    count: list[int] = []
    minimise(euler_table(3), pairs, 5, Schedule(iterations=9), Cost(), lambda i, it, d: count.append(i) or i == 1)
    assert count == [0, 1]


def test_a_table_that_diverges_has_infinite_loss_and_is_never_kept(pairs: Pairs) -> None:
    broken = FunctionField(lambda t, x: torch.where(t > 0.2, torch.nan, x), CondOT())
    iterate = evaluate(euler_table(4), Pairs(pairs.x0, pairs.x1, broken, 0.0), Cost())
    assert iterate.loss == math.inf
    assert len(lower(4)[0]) == 14
