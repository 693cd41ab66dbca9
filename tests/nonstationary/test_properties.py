"""What is read off a table, against closed forms."""

from __future__ import annotations

import math

import pytest
import torch

from bnsbench.errors import UsageError
from bnsbench.flows.paths import VP, CondOT, Cosine
from bnsbench.nonstationary.properties import distance, path_residuals, properties
from bnsbench.nonstationary.table import NonStationarySolver
from bnsbench.nonstationary.tracing import trace
from bnsbench.solvers.ddim import ddim
from bnsbench.solvers.runge_kutta import euler, heun, rk4
from tests.training.toys import random_split_table, random_table


def traced(rule, nfe, path):
    return trace(lambda field, x0: rule(field, x0, nfe), path)


@pytest.mark.parametrize("rule", [euler, heun, rk4])
def test_runge_kutta_rows_sum_to_the_time_on_condot(rule):
    solver = traced(rule, 4, CondOT())
    noise, data = path_residuals(solver, CondOT())
    assert data.tolist() == pytest.approx((solver.b.sum(1) - solver.times[1:]).tolist(), abs=1e-15)
    assert noise.tolist() == pytest.approx((solver.a - 1.0 - data).tolist(), abs=1e-15)
    assert max(data.abs().max(), noise.abs().max()) < 1e-15


@pytest.mark.parametrize("path", [Cosine(), VP()])
def test_exponential_integrators_follow_every_path_and_euler_does_not(path):
    exact, crude = (properties(traced(rule, 8, path), path) for rule in (ddim, euler))
    assert max(exact.noise_error, exact.data_error) < 1e-9
    assert max(crude.noise_error, crude.data_error) > 1e-3


def test_euler_s_residual_on_cosine_is_the_error_of_the_left_sum():
    n = 6
    _, data = path_residuals(traced(euler, n, Cosine()), Cosine())
    t = torch.arange(n, dtype=torch.float64) / n
    left = torch.cumsum(torch.pi / 2 * torch.cos(torch.pi / 2 * t) / n, 0)
    assert data.tolist() == pytest.approx((left - torch.sin(torch.pi / 2 * (t + 1 / n))).tolist(), abs=1e-14)


def test_figures():
    table = NonStationarySolver(
        torch.tensor([0.0, 0.5, 0.5, 1.0]), torch.ones(3), torch.diag(torch.tensor([0.5, -2.0, 1.0]))
    )
    figures = properties(table, CondOT())
    assert (figures.nfe, figures.largest_b, figures.increasing) == (3, 2.0, False)
    assert properties(traced(euler, 3, CondOT()), CondOT()).increasing


def test_amplification():
    figures = properties(traced(euler, 4, CondOT()), CondOT())
    assert (figures.start_gain, figures.noise_gain, figures.largest_noise_gain) == (1.0, 0.5, 0.5)
    assert figures.stability_limit == pytest.approx(8)
    assert figures.decay_errors == pytest.approx({-1.0: math.exp(-1) - 0.75**4, -4.0: math.exp(-4)})
    table = NonStationarySolver(
        torch.tensor([0.0, 1.0, 2.0]), torch.tensor([1.0, -0.5]), torch.tensor([[4.0, 0.0], [0.6, 0.8]])
    )
    figures = properties(table, CondOT())
    assert (figures.start_gain, figures.largest_noise_gain) == (0.5, 2.0)
    assert figures.noise_gain == pytest.approx(0.5)


def test_distance():
    first = NonStationarySolver(torch.tensor([0.0, 0.5, 1.0]), torch.tensor([1.0, 1.0]), torch.eye(2))
    second = NonStationarySolver(
        torch.tensor([0.0, 0.25, 1.0]), torch.tensor([1.0, 3.0]), torch.diag(torch.tensor([1.0, -4.0]))
    )
    gaps = distance(first, second)
    assert (gaps.times, gaps.a, gaps.b) == (0.25, 2.0, 5.0)
    assert distance(first, first) == type(gaps)(0.0, 0.0, 0.0)


def test_distance_needs_equal_nfe():
    one, two = (traced(euler, nfe, CondOT()) for nfe in (1, 2))
    with pytest.raises(UsageError, match="1 and 2 NFE"):
        distance(one, two)


def test_figures_of_split_columns_are_those_of_their_sum_where_both_answers_agree() -> None:
    table = random_table(4)
    split, path = table.split(2.0), CondOT()
    one, other = properties(table, path), properties(split, path)
    for name in ("noise_error", "data_error", "start_gain", "increasing"):
        assert getattr(other, name) == pytest.approx(getattr(one, name), rel=1e-9, abs=1e-12)
    # The bound is crossed where rounding decides by a little.
    assert other.stability_limit == pytest.approx(one.stability_limit, rel=1e-6)
    # Answers that err by themselves: b (1 + w) and -b w weigh them.
    assert other.noise_gain == pytest.approx(math.hypot(3.0, 2.0) * one.noise_gain)
    assert other.largest_b == pytest.approx(3.0 * one.largest_b)


def test_a_table_of_velocities_is_as_far_from_a_split_one_as_with_its_columns_split() -> None:
    table, split = random_table(3), random_split_table(3)
    assert distance(table, split) == distance(table.split(2.0), split) == distance(split, table)
    assert split.c is not None
    far = NonStationarySolver(split.times, split.a, split.b, c=split.c + 0.5 * torch.eye(3), guidance=2.0)
    assert distance(split, far).b == pytest.approx(0.5)
    with pytest.raises(UsageError, match="under different guidance"):
        distance(split, random_table(3).split(3.0))
