"""How a step of Gauss-Newton is damped, and how far it goes, by what it gains of what was foretold."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from bnsbench.training.families.parametrisation import LinearMultistep
from bnsbench.training.objectives import make_objective
from bnsbench.training.optimisers.gauss_newton import GaussNewton, Iterate, lengthen
from bnsbench.training.optimisers.rollout import Rollout
from bnsbench.training.problem import Cost
from tests.training.toys import bend, euler_table, plane_source, uniform

SMALL = 2.0**-20
"""The least that a part of a gain may be beside a limit in these tests; all their numbers are exact."""


def at(theta: Tensor, loss: float) -> Iterate:
    """An iterate of which nothing is known but parameters and loss."""
    return Iterate(theta, euler_table(1), Rollout(torch.zeros(2, 1, 1), torch.zeros(2, 1, 1)), torch.ones(1), loss)


@dataclass
class Told:
    """A descent in four parameters of slope -1/8 whose matrix is the identity: a step damped by d is 1 / (8 + 8 d).

    parts: of the foretold gain, the one of each trial in turn; trials beyond them gain nothing.
    slope, besides: another slope, and nats that every trial gains besides.
    asked: where trials led, in the unit of 1/8, the step without damping.
    """

    parts: list[float]
    slope: float = -0.125
    besides: float = 0.0
    asked: list[float] = field(default_factory=list)

    def step(self, monkeypatch: pytest.MonkeyPatch, damping: float) -> tuple[float, float]:
        """Take one; return how far it has led, in that unit, and the next damping."""
        family, pairs = LinearMultistep(uniform(3)), plane_source(bend).pairs("train", 2)
        descent = GaussNewton(family, make_objective("mse", None), pairs, Cost())
        start = at(torch.zeros(4, dtype=torch.float64), 0.0)
        coming = iter(self.parts)

        def evaluate(theta: Tensor) -> Iterate:
            (step,) = theta.unique().tolist()
            self.asked.append(8 * step)
            return at(theta, 4 * next(coming, 0.0) * (2 * self.slope * step + step**2) - self.besides)

        system = self.slope * torch.ones(4, dtype=torch.float64), torch.eye(4, dtype=torch.float64)
        monkeypatch.setattr(descent, "system", lambda *_: system)
        monkeypatch.setattr(descent, "evaluate", evaluate)
        found, following = descent.step(start, 1, damping)
        (step,) = found.theta.unique().tolist()
        return 8 * step, following


def damped(*dampings: float) -> list[float]:
    """Where steps under these dampings lead."""
    return [1 / (1 + damping) for damping in dampings]


@pytest.mark.parametrize(
    ("part", "following"),
    [(0.25, 1.0), (0.5, 1.0), (0.75, 1.0), (0.75 + SMALL, 0.2), (1.0, 0.2)],
)
def test_the_damping_stays_or_falls_to_a_fifth_by_the_part_of_the_foretold_gain(
    part: float, following: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Above three quarters it falls; from a quarter on nothing else is tried, and up to 1 nothing further."""
    told = Told([part])
    assert told.step(monkeypatch, 1.0) == (0.5, following)
    assert told.asked == pytest.approx(damped(1.0))


@pytest.mark.parametrize(
    ("parts", "kept", "following"),
    [
        # Damped by 1, 3/4 of what is foretold without damping would be gained, and by 10, 21/121 of it.
        ([0.25 - SMALL, 0.5], 1.0, 4.0),
        ([0.2, 0.86], 1.0, 4.0),
        ([0.2, 0.87], 10.0, 2.0),
        ([0.05, 0.5], 10.0, 10.0),
        ([0.05, 0.24], 10.0, 40.0),
        ([0.2, 0.0], 1.0, 4.0),
        ([0.2, -math.inf], 1.0, 4.0),
    ],
)
def test_a_step_that_gains_less_than_a_quarter_is_tried_under_ten_times_the_damping_and_the_better_one_is_kept(
    parts: list[float], kept: float, following: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next damping goes by the one that is kept; the second may gain as little as the first, and is the last."""
    told = Told(parts)
    step, damping = told.step(monkeypatch, 1.0)
    assert step == pytest.approx(1 / (1 + kept))
    assert damping == pytest.approx(following)
    assert told.asked == pytest.approx(damped(1.0, 10.0))


@pytest.mark.parametrize(
    ("parts", "asked", "kept", "following"),
    [
        ([0.0, 0.5], (1.0, 10.0), 10.0, 10.0),
        ([-1.0, -math.inf, -SMALL, 0.5], (1.0, 10.0, 100.0, 1000.0), 1000.0, 1000.0),
        ([-1.0, 0.1, 0.8], (1.0, 10.0, 100.0), 10.0, 40.0),
        ([-1.0, 0.1, 0.9], (1.0, 10.0, 100.0), 100.0, 20.0),
    ],
)
def test_while_nothing_is_gained_the_damping_grows_tenfold(
    parts: list[float], asked: tuple[float, ...], kept: float, following: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Told(parts)
    step, damping = told.step(monkeypatch, 1.0)
    assert step == pytest.approx(1 / (1 + kept))
    assert damping == pytest.approx(following)
    assert told.asked == pytest.approx(damped(*asked))


def test_below_a_damping_of_a_million_at_which_everything_stays_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    for damping, last in ((1.0, 6), (9.0, 6), (0.1, 7)):
        told = Told([])
        assert told.step(monkeypatch, damping) == (0.0, damping)
        assert told.asked == pytest.approx(damped(*(damping * 10**k for k in range(last))))


def test_the_damping_falls_to_a_millionth_of_a_millionth_at_the_least(monkeypatch: pytest.MonkeyPatch) -> None:
    for damping, following in ((1e-11, 2e-12), (4e-12, 1e-12), (1e-12, 1e-12)):
        assert Told([0.9]).step(monkeypatch, damping)[1] == pytest.approx(following, rel=1e-9, abs=0.0)


@pytest.mark.parametrize(
    ("parts", "asked", "reached", "following"),
    [
        ([1.0], [0.5], 0.5, 0.2),
        # Twice as far, 4/3 as much is foretold, and four times as far nothing.
        ([1.0 + SMALL, 0.75], [0.5, 1.0], 0.5, 0.2),
        ([1.0 + SMALL, 0.76], [0.5, 1.0, 2.0], 1.0, 0.2),
        ([0.05, 1.5, 0.9], [0.5, 1 / 11, 2 / 11, 4 / 11], 2 / 11, 2.0),
        ([0.0, 1.5, 0.5], [0.5, 1 / 11, 2 / 11], 1 / 11, 2.0),
    ],
)
def test_a_step_is_doubled_only_if_it_gains_more_than_was_foretold_and_while_that_helps(
    parts: list[float], asked: list[float], reached: float, following: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever damping it was found under; how far it went in the end changes nothing of the next one."""
    told = Told(parts)
    step, damping = told.step(monkeypatch, 1.0)
    assert told.asked == pytest.approx(asked)
    assert step == pytest.approx(reached)
    assert damping == pytest.approx(following)


def test_where_nothing_was_foretold_any_gain_is_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step without a slope leads nowhere; twice as far is no better, which is known only once it has been tried."""
    told = Told([], slope=0.0, besides=1.0)
    assert told.step(monkeypatch, 1.0) == (0.0, 0.2)
    assert told.asked == [0.0, 0.0]


@pytest.mark.parametrize(("lowest", "reached"), [(10.0, 8.0), (1.4, 1.0), (70.0, 64.0)])
def test_a_step_that_helps_is_doubled_while_it_helps(lowest: float, reached: float) -> None:
    """From 0 by 1, of a loss that is least at ``lowest``: 1, 2, 4, ... up to the last that is better than the one before."""

    def parabola(theta: Tensor) -> Iterate:
        return at(theta, float((theta - lowest) ** 2))

    zero, one = torch.zeros(()), torch.ones(())
    found = lengthen(parabola, parabola(one), zero, one)
    assert float(found.theta) == reached
