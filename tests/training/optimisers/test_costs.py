"""What a step is said to cost, by what steps count."""

from __future__ import annotations

import pytest

from bnsbench.training.families.parametrisation import FreeTable
from bnsbench.training.objectives import LOG_MSE
from bnsbench.training.optimisers.costs import numbers_of, sketches_of, step
from bnsbench.training.optimisers.forward_derivatives import Derivative
from bnsbench.training.optimisers.gauss_newton import GaussNewton
from bnsbench.training.problem import Cost
from tests.training.toys import bend, blobs_source, euler_table, plane_source


@pytest.mark.parametrize("nfe", [1, 2, 5])
def test_the_numbers_of_a_free_table(nfe: int) -> None:
    assert numbers_of(nfe) == len(FreeTable(euler_table(nfe)).start())


@pytest.mark.parametrize("pairs", [4, 20, 64])
@pytest.mark.parametrize("make", [lambda: plane_source(bend), blobs_source], ids=["2 numbers", "36 numbers"])
def test_a_step_backwards_costs_what_it_is_said_to(make, pairs: int) -> None:
    source = make()
    found = source.pairs("train", pairs)
    cost, nfe = Cost(), 3
    newton = GaussNewton(FreeTable(euler_table(nfe)), LOG_MSE, found, cost, affords=lambda more: False)
    iterate = newton.evaluate(newton.family.start())
    before = cost.training
    newton.step(iterate, 0, 1e-3)
    assert cost.training - before == step(nfe, numbers_of(nfe), pairs, residuals=found.x0[0].numel())


@pytest.mark.parametrize("derivative", ["forward", "difference"])
def test_a_step_forwards_costs_no_more_than_it_is_said_to(derivative: Derivative) -> None:
    found = plane_source(bend).pairs("train", 8)
    cost, nfe = Cost(), 3
    newton = GaussNewton(
        FreeTable(euler_table(nfe)), LOG_MSE, found, cost, derivative=derivative, affords=lambda more: False
    )
    iterate = newton.evaluate(newton.family.start())
    before = cost.training
    newton.step(iterate, 0, 1e-3)
    said = step(nfe, numbers_of(nfe), 8, derivative=derivative, precision=found.x0.dtype)
    assert said / 3 < cost.training - before <= said


def test_few_residuals_are_taken_one_by_one() -> None:
    assert sketches_of(50, 100, 64) == 1
    assert sketches_of(50, 10, 64) == 10
    assert sketches_of(50, 100, 2) == 2
    assert sketches_of(50, 10, 7) == 7
