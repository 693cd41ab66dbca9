from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from bnsbench.flows.fields import BatchField, Columns, CountingField, FunctionField
from bnsbench.flows.model import Model
from bnsbench.flows.paths import CondOT
from bnsbench.nonstationary.table import NonStationarySolver, free_entries
from bnsbench.training.families.parametrisation import Coefficients, FreeTable, LinearMultistep, Parametrisation
from bnsbench.training.optimisers.forward_derivatives import (
    DIFFERENCE_STEPS,
    Directional,
    differences,
    evaluations_per_direction,
    forward_mode,
    state_tangents,
)
from bnsbench.training.optimisers.rollout import run
from tests.flows.toy import SineField
from tests.training.optimisers.test_rollout import draw, entries_of_split, field_of, parameters, plain_states, start
from tests.training.toys import random_table

FAMILIES: dict[str, Callable[[int], Parametrisation]] = {
    "free": lambda n: FreeTable(random_table(n)),
    "coefficients": lambda n: Coefficients(random_table(n)),
    "multistep": lambda n: LinearMultistep(torch.linspace(0, 1, n + 1, dtype=torch.float64) ** 1.3),
}


def exact_tangents(family: Parametrisation, theta: Tensor, field: BatchField, x0: Tensor) -> Tensor:
    """d x_i / d theta_k [n, p, N, d] by autograd through the sampler written plainly."""

    def states(at: Tensor) -> Tensor:
        table = family.table(at)
        return plain_states(table, parameters(table), field, x0)

    return torch.autograd.functional.jacobian(states, theta).movedim(-1, 1)


def tangents(
    family: Parametrisation, theta: Tensor, field: BatchField, x0: Tensor, directional: Directional
) -> tuple[Tensor, int]:
    table = family.table(theta)
    return state_tangents(table, family.jacobian(theta), field, x0, run(table, field, x0), directional)


def deviation(found: Tensor, exact: Tensor) -> float:
    return float((found.double() - exact).norm() / exact.norm())


@pytest.mark.parametrize("kind", ["sine", "guided"])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("n", [1, 2, 5])
def test_forward_mode_tangents_are_autograd_s(n: int, family: str, kind: str) -> None:
    made, field, x0 = FAMILIES[family](n), field_of(kind), start(4)
    theta = made.start()
    found, _ = tangents(made, theta, field, x0, forward_mode)
    assert found.shape == (n, len(theta), 4, 3)
    torch.testing.assert_close(found, exact_tangents(made, theta, field, x0))


@pytest.mark.parametrize("kind", ["sine", "guided"])
@pytest.mark.parametrize(
    ("dtype", "precision", "allowed"),
    [
        (torch.float64, torch.float64, 1e-5),
        (torch.float32, torch.float32, 5e-3),
        # The precision is the network's; a coarser one takes longer steps, but central ones.
        (torch.float64, torch.bfloat16, 5e-3),
        (torch.float64, torch.float16, 1e-3),
    ],
    ids=["float64", "float32", "bfloat16", "float16"],
)
def test_tangents_by_differences_are_autograd_s(
    dtype: torch.dtype, precision: torch.dtype, allowed: float, kind: str
) -> None:
    made, field, x0 = FAMILIES["free"](4), field_of(kind), start(4)
    theta = made.start()
    found, _ = tangents(made, theta, field, x0.to(dtype), differences(precision))
    assert found.dtype == dtype
    assert deviation(found, exact_tangents(made, theta, field, x0)) < allowed


def test_forward_mode_tangents_in_float32_are_those_in_float64_to_its_rounding() -> None:
    made, field, x0 = FAMILIES["free"](4), field_of("sine"), start(4)
    found, _ = tangents(made, made.start(), field, x0.float(), forward_mode)
    assert deviation(found, exact_tangents(made, made.start(), field, x0)) < 1e-5


def test_images_keep_their_shape_for_the_field() -> None:
    shapes = set()

    class Image(SineField):
        def __call__(self, t, x):
            shapes.add(tuple(x.shape))
            return super().__call__(t, x)

    made, x0 = FAMILIES["free"](3), draw(2, 1, 2, 3)
    for directional in (forward_mode, differences(torch.float64)):
        found, _ = tangents(made, made.start(), Image(), x0, directional)
        assert found.shape == (3, len(made.start()), 2, 6)
        exact = exact_tangents(made, made.start(), Image(), x0).flatten(3)
        assert deviation(found, exact) < 1e-5
    assert shapes == {(2, 1, 2, 3)}


@pytest.mark.parametrize("n", [1, 2, 4, 8])
def test_parameters_cost_nothing_before_they_act(n: int) -> None:
    """At evaluation l only t_1 .. t_l and the rows before it have moved anything: l (l + 3) / 2 entries of rows."""
    table, x0 = random_table(n), start(2)
    field = CountingField(SineField())
    rollout = run(table, field, x0)
    assert field.nfe == n
    sizes: list[int] = []

    def counted(field: BatchField | Columns, t: Tensor, x: Tensor, u: Tensor, dx: Tensor, dt: Tensor) -> Tensor:
        assert len(dx) == len(dt)
        sizes.append(len(dx))
        return differences(torch.float64)(field, t, x, u, dx, dt)

    entries = torch.eye(len(parameters(table)), dtype=torch.float64)
    found, directions = state_tangents(table, entries, field, x0, rollout, counted)
    assert sizes == [level * (level + 5) // 2 for level in range(1, n)]
    assert directions == sum(sizes) == field.nfe - n
    acting = torch.tensor([[bool(found[i, k].any()) for k in range(len(entries))] for i in range(n)])
    rows = free_entries(n)[0]
    for i in range(n):
        assert torch.equal(acting[i, : n - 1], torch.arange(1, n) <= i)
        assert torch.equal(acting[i, n - 1 :], rows <= i)


@pytest.mark.parametrize("n", [4, 8])
def test_log_gaps_move_every_time_so_a_free_table_costs_all_of_them_at_every_evaluation(n: int) -> None:
    made = FreeTable(random_table(n))
    _, directions = tangents(made, made.start(), SineField(), start(2), differences(torch.float64))
    least = sum(level * (level + 5) // 2 for level in range(1, n))
    assert directions == least + (n - 1) * (n - 2) // 2
    rows = Coefficients(random_table(n))
    _, directions = tangents(rows, rows.start(), SineField(), start(2), differences(torch.float64))
    assert directions == sum(level * (level + 3) // 2 for level in range(1, n))


class Guarded(SineField):
    """A field that is not to be evaluated outside its interval."""

    interval = (0.0, 0.999)

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    def __call__(self, t: Tensor, x: Tensor) -> Tensor:
        begin, end = self.interval
        if not bool(((t >= begin) & (t <= end)).all()):
            raise AssertionError(f"the field was evaluated at {float(t)!r}")
        self.times.append(float(t))
        return super().__call__(t, x)


EDGES = torch.tensor([0.0, 0.0, 1e-9, 0.4, 0.999 - 1e-9, 0.999, 0.999], dtype=torch.float64)
"""Evaluations at both ends of the interval, and as near to them as no step gets."""


@pytest.mark.parametrize("precision", DIFFERENCE_STEPS, ids=str)
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_steps_never_leave_the_interval(precision: torch.dtype, sign: float) -> None:
    table = NonStationarySolver.from_rows(EDGES, random_table(6).rows)
    x0, field = start(3), Guarded()
    rollout = run(table, field, x0)
    entries = sign * torch.eye(len(parameters(table)), dtype=torch.float64)
    found, _ = state_tangents(table, entries, field, x0, rollout, differences(precision))
    assert len(set(field.times) - set(EDGES.tolist())) >= 5
    plain = torch.autograd.functional.jacobian(
        lambda theta: plain_states(table, theta, SineField(), x0), parameters(table)
    ).movedim(-1, 1)
    # One-sided steps in time at the ends are as coarse as they are long.
    assert deviation(found, sign * plain) < 2 * DIFFERENCE_STEPS[precision]


def square(t: Tensor, x: Tensor) -> Tensor:
    return x**2


def differentiate(
    precision: torch.dtype, field: BatchField, x: Tensor, dx: Tensor, t: float = 0.5, dt: float = 0.0
) -> Tensor:
    moment, moments = torch.tensor(t, dtype=torch.float64), torch.full((len(dx),), dt, dtype=torch.float64)
    return differences(precision)(field, moment, x, field(moment, x).flatten(1), dx, moments)


@pytest.mark.parametrize("precision", [torch.float64, torch.float32])
def test_steps_are_in_proportion_to_the_states(precision: torch.dtype) -> None:
    """One step h along d from x errs on x^2 by h d^2 exactly, where rms(h d) is the promised part of rms(x)."""
    x, dx = 7.0 * draw(3, 4), 0.01 * draw(2, 3, 4, seed=8)
    found = differentiate(precision, FunctionField(square, CondOT()), x, dx)
    for direction, derivative in zip(dx, found, strict=True):
        step = DIFFERENCE_STEPS[precision] * x.square().mean().sqrt() / direction.square().mean().sqrt()
        torch.testing.assert_close(derivative, 2 * x * direction + step * direction**2, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("precision", [torch.float64, torch.float32])
@pytest.mark.parametrize(("begin", "end"), [(0.0, 0.1), (0.0, 1.0), (0.0, 80.0), (0.2, 0.9)])
def test_steps_in_time_are_in_proportion_to_the_interval(precision: torch.dtype, begin: float, end: float) -> None:
    """One step h in time errs on t^2 by h exactly, which is the promised part of the interval."""
    field = FunctionField(lambda t, x: t**2 * torch.ones_like(x), CondOT(), (begin, end))
    x, t = draw(3, 4), 0.6 * begin + 0.4 * end
    for dt in (1.0, -3.0):
        found = differentiate(precision, field, x, torch.zeros(1, 3, 4, dtype=torch.float64), t, dt)
        step = DIFFERENCE_STEPS[precision] * (end - begin)
        torch.testing.assert_close(found, torch.full_like(found, 2 * t * dt + step * abs(dt)), rtol=1e-8, atol=0)


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_differences_below_float32_are_central(precision: torch.dtype) -> None:
    x, dx = draw(3, 4), draw(2, 3, 4, seed=8)
    field = CountingField(FunctionField(square, CondOT()))
    torch.testing.assert_close(differentiate(precision, field, x, dx), 2 * x * dx)
    assert field.nfe == 1 + 2 * 2


def test_a_step_along_time_and_state_at_once_is_their_sum() -> None:
    x, dx = draw(3, 4), draw(1, 3, 4, seed=8)
    field = FunctionField(lambda t, x: torch.sin(3 * t) * x, CondOT())
    expected = torch.sin(torch.tensor(1.5)) * dx + 2.0 * 3 * torch.cos(torch.tensor(1.5)) * x
    torch.testing.assert_close(differentiate(torch.float64, field, x, dx, dt=2.0), expected.double(), rtol=1e-4, atol=1e-5)


def test_a_field_that_knows_no_time_or_no_state_has_tangents_all_the_same() -> None:
    x0, made = start(3), FAMILIES["free"](3)
    functions = {
        "constant": lambda t, x: torch.ones_like(x),
        "no time": lambda t, x: torch.sin(x),
        "no state": lambda t, x: torch.cos(3 * t).to(x).reshape(-1, 1) * torch.ones_like(x),
    }
    for function in functions.values():
        field = FunctionField(function, CondOT())
        exact = exact_tangents(made, made.start(), field, x0)
        for directional in (forward_mode, differences(torch.float64)):
            found, _ = tangents(made, made.start(), field, x0, directional)
            assert deviation(found, exact) < 1e-5


class Rounded(Model):
    """A smooth field that a network computes in its own precision."""

    path = CondOT()
    shape = (3,)

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype

    def predict(self, t: Tensor, x: Tensor, condition: Tensor | None) -> Tensor:
        assert x.dtype == self.dtype
        return torch.sin(2 * x) - x.roll(1, -1) * torch.cos(4 * t).to(x).reshape(-1, 1)

    def fingerprint(self) -> str:
        return "rounded"


def test_a_bfloat16_network_is_differentiated_as_well_as_its_rounding_allows() -> None:
    made, x0 = FAMILIES["free"](4), start(60)
    theta = made.start()
    exact = exact_tangents(made, theta, Rounded(torch.float64).field(None), x0)
    coarse = Rounded(torch.bfloat16).field(None)
    found = {
        kind: tangents(made, theta, coarse, x0.float(), differences(kind))[0] for kind in (torch.float32, torch.bfloat16)
    }
    assert deviation(found[torch.bfloat16], exact) < 0.03
    assert deviation(found[torch.float32], exact) > 5 * deviation(found[torch.bfloat16], exact)
    by_duals, _ = tangents(made, theta, coarse, x0.float(), forward_mode)
    assert deviation(by_duals, exact) < 0.02


def test_what_a_direction_costs() -> None:
    costs = {
        (derivative, precision): evaluations_per_direction(derivative, precision)
        for derivative in ("forward", "difference")
        for precision in (torch.float64, torch.float32, torch.bfloat16)
    }
    assert costs[("forward", torch.float64)] == costs[("forward", torch.bfloat16)] == 2
    assert costs[("difference", torch.float64)] == costs[("difference", torch.float32)] == 1
    assert costs[("difference", torch.bfloat16)] == 2


def test_tangents_of_a_part_of_the_samples_are_the_part_of_the_tangents() -> None:
    made, x0 = FAMILIES["multistep"](4), start(5)
    table, jacobian, chosen = made.table(made.start()), made.jacobian(made.start()), slice(1, 3)
    whole = run(table, SineField(), x0)
    part = replace(whole, basis=whole.basis[:, chosen], states=whole.states[:, chosen])
    all_of_them, _ = state_tangents(table, jacobian, SineField(), x0, whole, forward_mode)
    some, _ = state_tangents(table, jacobian, SineField(), x0[chosen], part, forward_mode)
    torch.testing.assert_close(some, all_of_them[:, :, chosen])


@pytest.mark.parametrize("n", [1, 2, 4])
@pytest.mark.parametrize(
    ("directional", "allowed"),
    [(forward_mode, 1e-9), (differences(torch.float64), 1e-5), (differences(torch.bfloat16), 5e-3)],
)
def test_tangents_of_split_columns_are_autograd_s(n: int, directional: Directional, allowed: float) -> None:
    theta, states, table, field, x0 = entries_of_split(n)
    counter = CountingField(field)
    rollout = run(table, field, x0)
    found, directions = state_tangents(table, torch.eye(len(theta), dtype=torch.float64), counter, x0, rollout, directional)
    exact = torch.autograd.functional.jacobian(states, theta).movedim(-1, 1)
    assert found.shape == (n, 2 * n - 1 + n * (n + 1), 4, 3)
    assert deviation(found, exact) < allowed
    # Of the parameters of later rows nothing is asked: rows before an evaluation, and the times up to its own.
    assert directions == sum(i + i + i * (i + 1) for i in range(1, n))
