"""Output caches: where they are other methods, and the formulas that they are said to be."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from bnsbench.errors import UsageError
from bnsbench.flows.fields import FunctionField
from bnsbench.flows.paths import CondOT
from bnsbench.solvers.adams_bashforth import ab2, ab3
from bnsbench.solvers.caching import easycache, taylor
from bnsbench.solvers.grids import time_grid
from bnsbench.solvers.runge_kutta import euler

FIELD = FunctionField(lambda t, x: torch.sin(2 * x) - t * x + t**2, CondOT())
X0 = torch.linspace(-1, 1, 5, dtype=torch.float64)[:, None]
GRIDS = ["uniform", "quadratic", "nodes:0.1:0.4:0.5:0.9"]


@pytest.mark.parametrize("grid", GRIDS)
def test_without_steps_between_both_are_euler(grid: str) -> None:
    expected = euler(FIELD, X0, 5, grid=grid)
    torch.testing.assert_close(taylor(FIELD, X0, 5, every=1, order=2, grid=grid), expected)
    torch.testing.assert_close(easycache(FIELD, X0, 5, every=1, grid=grid), expected)


@pytest.mark.parametrize("grid", GRIDS)
def test_an_answer_that_is_kept_makes_one_long_step(grid: str) -> None:
    torch.testing.assert_close(taylor(FIELD, X0, 5, every=7, order=0, grid=grid), euler(FIELD, X0, 5, grid=grid))


def test_infinitely_many_steps_of_a_line_are_two_step_adams_bashforth() -> None:
    """The sum of the forecasts becomes the integral of the line through two answers."""
    gaps = [float((taylor(FIELD, X0, 5, every=k, order=1) - ab2(FIELD, X0, 5)).abs().max()) for k in (50, 100)]
    assert gaps[1] < 0.005
    assert gaps[0] / gaps[1] == pytest.approx(2, rel=0.05)


def test_a_taylor_polynomial_of_order_two_is_no_interpolation() -> None:
    gap = float((taylor(FIELD, X0, 5, every=2000, order=2) - ab3(FIELD, X0, 5)).abs().max())
    assert gap > 1e-3


@pytest.mark.parametrize("grid", GRIDS)
def test_taylor_by_its_formula(grid: str) -> None:
    """u + h u[t_i, t_j] + h^2 u[t_i, t_j, t_k] by divided differences, written out for order 2."""
    times = time_grid(grid, CondOT(), (0.0, 1.0), 5)
    nodes, us, x = [float(t) for t in times], [], X0.numpy()
    for i, (begin, end) in enumerate(pairwise(nodes)):
        us.append(FIELD(torch.tensor(begin, dtype=torch.float64), torch.from_numpy(x)).numpy())
        first = (us[i] - us[i - 1]) / (nodes[i] - nodes[i - 1]) if i else 0 * us[i]
        second = 0 * us[i]
        if i > 1:
            before = (us[i - 1] - us[i - 2]) / (nodes[i - 1] - nodes[i - 2])
            second = (first - before) / (nodes[i] - nodes[i - 2])
        width = (end - begin) / 4
        for k in range(4):
            h = k * width
            x = x + width * (us[i] + h * first + h**2 * second)
    found = taylor(FIELD, X0, 5, every=4, order=2, grid=grid)
    torch.testing.assert_close(found, torch.from_numpy(x), rtol=1e-12, atol=1e-12)


def test_easycache_by_its_closed_form() -> None:
    """Steps with u = x + added: x + added grows by 1 + h in each."""
    x = X0
    for begin in (0.0, 0.5):
        u = FIELD(torch.tensor(begin, dtype=torch.float64), x)
        x = x + u / 8  # the step that asks
        added = u - (x - u / 8)
        x = (x + added) * (1 + 1 / 8) ** 3 - added
    torch.testing.assert_close(easycache(FIELD, X0, 2, every=4), x, rtol=1e-12, atol=1e-12)


def test_only_evaluations_are_counted() -> None:
    asked = []

    def function(t: Tensor, x: Tensor) -> Tensor:
        asked.append(float(t))
        return -x

    for sampler in (taylor, easycache):
        asked.clear()
        sampler(FunctionField(function, CondOT()), X0, 4, every=5)
        assert asked == [0, 0.25, 0.5, 0.75]


@pytest.mark.parametrize(("arguments", "said"), [({"every": 0}, "every 1 or more steps, not 0"), ({"order": -1}, "not -1")])
def test_misuse(arguments: dict[str, int], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        taylor(FIELD, X0, 4, **arguments)  # type: ignore[arg-type]
