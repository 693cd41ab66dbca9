from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from bnsbench.nonstationary.tracing import trace
from bnsbench.process.parts import EXTRACTOR, Parts
from bnsbench.solvers.runge_kutta import euler
from bnsbench.training.families.parametrisation import FreeTable, entries
from bnsbench.training.moments import FrechetDistance
from bnsbench.training.optimisers.likeness import Likeness, LikenessSteps, directions_of, step_cost
from bnsbench.training.optimisers.rollout import run
from bnsbench.training.problem import Cost
from bnsbench.truth.pairs import PairSource
from tests.training.toys import cross_source

FLOOR = 1e-3


def features(x: Tensor) -> Tensor:
    """Three features of points, which cannot be differentiated."""
    x = x.detach()
    return torch.stack([x[:, 0].sin(), x.square().sum(1), x[:, 1]], dim=1)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> PairSource:
    return cross_source(guidance=1.0, cache=tmp_path_factory.mktemp("pairs"))


def steps(source: PairSource, nfe: int = 3, count: int = 64, most: int | None = None) -> LikenessSteps:
    table = trace(lambda field, x0: euler(field, x0, nfe), source.model.path)
    likeness = Likeness.of(source.pairs("train", count), features, Parts(most, what=EXTRACTOR), FLOOR)
    return LikenessSteps(FreeTable(table, source.model.path), likeness, Cost())


def test_the_loss_is_the_log_of_the_distance_and_the_log_of_errors(source: PairSource) -> None:
    made = steps(source)
    end = made.likeness.truth + 0.1
    view, truth = made.likeness.view(end), made.likeness.truth
    distance = float(FrechetDistance(features(truth))(features(end)))
    assert made.likeness.frechet(view) == pytest.approx(distance)
    assert float(made.likeness.loss(view)) == pytest.approx(math.log(distance) + math.log(0.01 + FLOOR), rel=1e-6)
    broken = made.likeness.view(end * torch.nan)
    assert made.likeness.frechet(broken) == float(made.likeness.loss(broken)) == math.inf


@pytest.mark.parametrize("held", [2**26, 600], ids=["at once", "in parts"])
def test_tangents_are_how_end_states_move(source: PairSource, held: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bnsbench.training.optimisers.likeness.NUMBERS_HELD", held)
    made = steps(source)
    theta, pairs = made.family.start(), made.likeness.pairs
    tangents = made.tangents(theta, run(made.family.table(theta), pairs.field, pairs.x0))
    assert tangents.shape == (len(theta), len(pairs), 2)
    assert made.cost.training == directions_of(3) * len(pairs)
    for number in range(len(theta)):
        move = 1e-5 * torch.eye(len(theta), dtype=torch.float64)[number]
        ahead, behind = (run(made.family.table(theta + sign * move), pairs.field, pairs.x0).end for sign in (1, -1))
        torch.testing.assert_close(tangents[number], (ahead - behind) / 2e-5, rtol=1e-3, atol=1e-3)


def test_the_directions_of_split_columns_are_counted(source: PairSource) -> None:
    table = trace(lambda field, x0: euler(field, x0, 3), source.model.path).split(1.0)
    likeness = Likeness.of(source.pairs("train", 8), features, Parts(what=EXTRACTOR), FLOOR)
    made = LikenessSteps(FreeTable(table, source.model.path), likeness, Cost())
    theta = made.family.start()
    made.tangents(theta, run(table, likeness.pairs.field, likeness.pairs.x0))
    assert made.cost.training == directions_of(3, columns=2) * 8
    assert len(entries(table)) == 2 * 3 - 1 + 3 * 4


def test_a_step_lowers_the_loss_and_the_distance(source: PairSource) -> None:
    made = steps(source)
    theta = made.family.start()
    pairs, likeness = made.likeness.pairs, made.likeness
    before = likeness.view(run(made.family.table(theta), pairs.field, pairs.x0).end)
    step = made.step(theta, 10.0)
    after = likeness.view(run(made.family.table(step.theta), pairs.field, pairs.x0).end)
    assert step.gain == pytest.approx(float(likeness.loss(before) - likeness.loss(after)), rel=1e-6)
    assert step.gain > 0.05
    assert likeness.frechet(after) < likeness.frechet(before)
    assert made.cost.training <= step_cost(3, 1, len(pairs), 2)


def test_a_large_charge_is_a_short_step(source: PairSource) -> None:
    made = steps(source)
    theta = made.family.start()
    short, long = (made.step(theta, charge) for charge in (1e4, 10.0))
    assert 0 < short.gain < long.gain
    assert float((short.theta - theta).norm()) < 0.1 * float((long.theta - theta).norm())
    # Gained as foretold, the next step may be longer.
    assert short.charge == pytest.approx(3e3)


def test_where_trials_run_away_nothing_moves(source: PairSource, monkeypatch: pytest.MonkeyPatch) -> None:
    made = steps(source, count=16)

    def astray(model: Any, charge: float) -> Tensor:
        return torch.full((len(model.features),), 1e300, dtype=torch.float64)

    monkeypatch.setattr("bnsbench.training.optimisers.likeness._Linear.least", astray)
    theta = made.family.start()
    step = made.step(theta, 1.0)
    assert torch.equal(step.theta, theta)
    assert (step.gain, step.charge) == (0.0, 1e4)


def test_the_extractor_takes_samples_in_parts(source: PairSource) -> None:
    whole, parts = (steps(source, most=most) for most in (None, 10))
    ends = [made.step(made.family.start(), 10.0).theta for made in (whole, parts)]
    torch.testing.assert_close(*ends)
