from __future__ import annotations

import itertools
import math

import pytest
import torch

from bnsbench.flows.fields import FunctionField
from bnsbench.flows.pairs import Pairs, PairSource
from bnsbench.flows.paths import CondOT
from bnsbench.models.mixtures import digits_gmm
from bnsbench.training.gauss_newton import GaussNewton, Iterate, Schedule, _damped_step
from bnsbench.training.parametrisations import FreeTable, LinearMultistep, ScaleTime
from bnsbench.training.problem import Cost
from bnsbench.training.rollout import gradient_rows
from bnsbench.training.table import Table


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    return PairSource(digits_gmm(), "digits-gmm", tolerance=1e-6).pairs("train", 64)


def euler_table(n: int) -> Table:
    times = torch.linspace(0, 1, n + 1, dtype=torch.float64)
    rows = torch.tril(torch.full((n, n + 1), 1 / n, dtype=torch.float64), 1)
    rows[:, 0] = 1
    return Table(times, rows)


def descent(table: Table, pairs: Pairs, **schedule) -> GaussNewton:
    return GaussNewton(FreeTable(table), pairs, Cost(), 5, Schedule(**schedule))


def mean_log_error(table: Table, pairs: Pairs) -> float:
    end = table.solver()(pairs.field, pairs.x0)
    return float((end - pairs.x1).flatten(1).square().mean(1).log().mean())


def test_the_last_row_is_projected(pairs: Pairs) -> None:
    table = euler_table(4)
    newton = descent(table, pairs)
    projected = newton.evaluate(newton.family.start())
    assert newton.cost.training == 4 * 64
    torch.testing.assert_close(projected.table.rows[:3], table.rows[:3])
    assert projected.loss < mean_log_error(table, pairs) - 1
    assert projected.loss == pytest.approx(mean_log_error(projected.table, pairs), abs=1e-6)
    torch.testing.assert_close(newton.family.table(projected.theta).rows, projected.table.rows)


@pytest.mark.parametrize("kind", ["free", "multistep", "scale-time"])
def test_the_gradient_is_exact_and_the_sketch_is_unbiased(pairs: Pairs, kind: str) -> None:
    n, d = 4, 64
    times = torch.linspace(0, 1, n + 1, dtype=torch.float64)
    families = {
        "free": FreeTable(euler_table(n)),
        "multistep": LinearMultistep(times),
        "scale-time": ScaleTime(n, (0.0, 1.0), 2),
    }
    family = families[kind]
    size = len(family.start())
    newton = GaussNewton(family, pairs, Cost(), 0, Schedule(rows_per_parameter=64 * 60 / size))
    iterate = newton.evaluate(family.start())
    gradient, curvature = newton.sketch(iterate, 1)

    for k in range(size):
        step = torch.zeros(size, dtype=torch.float64)
        step[k] = 1e-6
        ahead, behind = (mean_log_error(family.table(iterate.theta + sign * step), pairs) for sign in (1, -1))
        assert 2 * float(gradient[k]) == pytest.approx((ahead - behind) / 2e-6, rel=1e-4, abs=1e-4)

    identity = torch.eye(d, dtype=torch.float64)[:, None].expand(d, 64, d)
    jacobian = gradient_rows(iterate.table, pairs.field, pairs.x0, iterate.rollout, identity) @ family.jacobian(
        iterate.theta
    )
    errors = iterate.rollout.errors(pairs.x1.flatten(1))
    exact = torch.einsum("dsp,dsq,s->pq", jacobian, jacobian, 1 / errors) / (64 * d)
    scale = exact.diagonal().sqrt()
    assert ((curvature - exact) / scale / scale[:, None]).abs().max() < 0.12


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
    seen: list[Iterate] = []
    newton = descent(euler_table(4), pairs, iterations=12)
    newton.minimise(lambda iteration, iterate, damping: seen.append(iterate) or False)
    assert all(after.loss <= before.loss for before, after in itertools.pairwise(seen))
    gained_db = (seen[0].loss - seen[-1].loss) * 10 / math.log(10)
    assert gained_db > 10
    assert (seen[-1].table.times.diff() > 0).all()
    assert newton.cost.training > 0


def test_minimise_is_reproducible_and_can_be_stopped(pairs: Pairs) -> None:
    ends = []
    for _ in range(2):
        seen: list[Table] = []
        newton = descent(euler_table(3), pairs, iterations=3)
        newton.minimise(lambda iteration, iterate, damping, seen=seen: seen.append(iterate.table) or False)
        ends.append(seen[-1])
    assert torch.equal(ends[0].rows, ends[1].rows)
    assert torch.equal(ends[0].times, ends[1].times)
    count: list[int] = []
    descent(euler_table(3), pairs, iterations=9).minimise(lambda i, iterate, damping: count.append(i) or i == 1)
    assert count == [0, 1]


def test_a_table_that_diverges_has_infinite_loss_and_is_never_kept(pairs: Pairs) -> None:
    broken = FunctionField(lambda t, x: torch.where(t > 0.2, torch.nan, x), CondOT())
    newton = descent(euler_table(4), Pairs(pairs.x0, pairs.x1, broken, 0.0))
    assert newton.evaluate(newton.family.start()).loss == math.inf
