from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from bnsbench.flows.fields import FunctionField
from bnsbench.flows.paths import CondOT
from bnsbench.nonstationary.table import NonStationarySolver
from bnsbench.process.parts import Parts
from bnsbench.training.objectives import Objective, make_objective
from bnsbench.training.optimisers.rollout import run
from bnsbench.training.optimisers.soft_teacher import soft_radius, soften
from bnsbench.truth.pairs import Pairs, PairSource
from tests.flows.toy import GaussianModel, SineField
from tests.training.toys import Cramped, as_model_field, euler_table, random_table

NOWHERE = NonStationarySolver.from_rows(
    torch.tensor([0.0, 1.0], dtype=torch.float64), torch.tensor([[1.0, 0.0]], dtype=torch.float64)
)
"""The student that returns its noise."""


def gaussians() -> Pairs:
    return PairSource(GaussianModel(), "gaussian", guidance=2.0, tolerance=1e-8).trajectories("train", 6)


def still(x0: Tensor, x1: Tensor) -> Pairs:
    return Pairs(x0, x1, as_model_field(FunctionField(lambda t, x: torch.zeros_like(x), CondOT())), 0.0)


def errors(table: NonStationarySolver, objective: Objective, pairs: Pairs) -> Tensor:
    return objective.errors(pairs, *run(table, pairs.field, pairs.x0).compared(table, objective.whole))


class Linear(Objective):
    """Errors that fall linearly to zero: e = <a, x_n> + 7, written as the square of a residual."""

    slope = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)

    def residuals(self, pairs: Pairs, states: Tensor, times: Tensor) -> Tensor:
        return (states[-1] @ self.slope + 7.0).sqrt()[:, None]


def test_a_step_is_exact_for_errors_that_fall_linearly() -> None:
    x0 = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    moved = soften(NOWHERE, Linear("linear", logarithmic=False), still(x0, x0), x0, 100.0).x0
    torch.testing.assert_close(moved @ Linear.slope, torch.full((5,), -7.0, dtype=torch.float64))
    # The nearest such point: the step has no part across the slope.
    torch.testing.assert_close(moved - x0, -((x0 @ Linear.slope + 7) / 5.25)[:, None] * Linear.slope)


def test_a_step_goes_half_way_to_the_root_of_a_square() -> None:
    x0, x1 = torch.randn(2, 5, 2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    pairs = still(x0, x1)
    moved = soften(NOWHERE, make_objective("soft-log-mse", None), pairs, x0, 100.0)
    torch.testing.assert_close(moved.x0, (x0 + x1) / 2)
    again = soften(NOWHERE, make_objective("soft-log-mse", None), moved, x0, 100.0)
    torch.testing.assert_close(again.x0, x0 / 4 + 3 * x1 / 4)
    assert torch.equal(pairs.x0, x0)


@pytest.mark.parametrize("radius", [1e-3, 0.2, 0.9])
def test_no_sample_leaves_the_radius_around_the_teacher_s_noise(radius: float) -> None:
    x0, x1 = torch.randn(2, 6, 1, 2, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    pairs = moved = Pairs(x0, x1, as_model_field(SineField()), 0.0)
    objective, table = make_objective("soft-mse", None), random_table(4)
    for _ in range(4):
        moved = soften(table, objective, moved, pairs.x0, radius)
        distance = (moved.x0 - pairs.x0).flatten(1).norm(dim=1)
        assert float(distance.max()) <= radius * (1 + 1e-12)
    assert moved.x0.shape == pairs.x0.shape
    assert float(distance.min()) > 0.1 * radius


def test_a_radius_of_nothing_leaves_the_noise_alone() -> None:
    pairs = gaussians()
    moved = soften(random_table(3), make_objective("soft-mse", None), pairs, pairs.x0, 0.0)
    assert torch.equal(moved.x0, pairs.x0)


@pytest.mark.parametrize("name", ["soft-mse", "soft-log-mse", "soft-features", "soft-trajectory"])
@pytest.mark.parametrize("student", ["euler", "random"])
def test_the_student_errs_less_from_the_softened_noise(name: str, student: str) -> None:
    pairs = gaussians()
    table = euler_table(3) if student == "euler" else random_table(3)
    objective = make_objective(name, lambda x: torch.cat([x.sin(), x.square()], dim=1))
    before = errors(table, objective, pairs)
    moved = soften(table, objective, pairs, pairs.x0, 0.05)
    after = errors(table, objective, moved)
    assert (after < before).all()
    again = errors(table, objective, soften(table, objective, moved, pairs.x0, 0.05))
    assert (again <= after * (1 + 1e-9)).all()


def test_a_step_against_the_gradient_is_polyak_s() -> None:
    """e / |grad e|^2 along the gradient of a plain sampler, sample by sample."""
    pairs, table = gaussians(), euler_table(3)
    moved = soften(table, make_objective("soft-mse", None), pairs, pairs.x0, 100.0)
    for s in range(6):
        own = pairs.part(slice(s, s + 1))
        start = own.x0.clone().requires_grad_()
        x = start
        for i in range(3):
            x = x + own.field(torch.tensor(i / 3, dtype=torch.float64), x) / 3
        error = ((x - own.x1) ** 2).mean()
        (slope,) = torch.autograd.grad(error, start)
        expected = own.x0 - error.detach() / (slope**2).sum() * slope
        torch.testing.assert_close(moved.x0[s : s + 1], expected)


def test_everything_but_the_noise_stays_as_it_was() -> None:
    pairs = replace(gaussians(), weights=torch.arange(1.0, 7.0))
    moved = soften(euler_table(2), make_objective("soft-mse", None), pairs, pairs.x0, 0.1)
    assert moved.x1 is pairs.x1
    assert moved.field is pairs.field
    assert moved.weights is pairs.weights
    assert moved.trajectory is pairs.trajectory
    assert moved.x0.dtype == pairs.x0.dtype
    assert not moved.x0.requires_grad


def test_a_student_that_is_already_exact_or_broken_moves_nothing() -> None:
    x0 = torch.randn(3, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    exact = soften(NOWHERE, make_objective("soft-mse", None), still(x0, x0), x0, 0.1)
    assert torch.equal(exact.x0, x0)
    broken = Pairs(x0, x0 + 1, as_model_field(FunctionField(lambda t, x: x * math.nan, CondOT())), 0.0)
    assert torch.equal(soften(euler_table(2), make_objective("soft-mse", None), broken, x0, 0.1).x0, x0)


def test_float32_noise_stays_within_the_radius() -> None:
    pairs = gaussians()
    narrow = replace(pairs, x0=pairs.x0.float(), x1=pairs.x1.float())
    moved = soften(random_table(4), make_objective("soft-mse", None), narrow, narrow.x0, 0.01)
    assert moved.x0.dtype == torch.float32
    distance = (moved.x0.double() - narrow.x0.double()).norm(dim=1)
    torch.testing.assert_close(distance, torch.full((6,), 0.01, dtype=torch.float64), rtol=1e-4, atol=0)


def test_the_soft_radius_is_the_paper_s_and_never_a_large_part_of_the_noise() -> None:
    assert soft_radius(3072, 8) == pytest.approx(0.001 * 3072 / 64)
    assert soft_radius(3072, 4) == pytest.approx(0.192)
    # Latents of 512 x 512 images at one evaluation: 16.4 of a length of 128.
    assert soft_radius(16384, 1) == pytest.approx(0.1 * 128)


def test_noise_moves_the_same_in_parts() -> None:
    told = list[str]()
    roomy, cramped = (PairSource(model, "plane", tolerance=1e-6) for model in (Cramped(), Cramped(gradients=3)))
    objective, table = make_objective("soft-log-mse", None), random_table(3)
    expected, given = (source.pairs("train", 10) for source in (roomy, cramped))
    given = replace(given, field=given.field.within(Parts(notice=told.append)))
    found, wanted = (soften(table, objective, pairs, pairs.x0, 0.5).x0 for pairs in (given, expected))
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)
    assert not torch.equal(found, given.x0)
    assert len(told) == 1
