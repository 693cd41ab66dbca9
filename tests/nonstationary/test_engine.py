from __future__ import annotations

import pytest
import torch

from bnsbench.errors import NotApplicableError, UsageError
from bnsbench.flows import precision
from bnsbench.flows.fields import CountingField, FunctionField
from bnsbench.flows.paths import CondOT
from bnsbench.nonstationary.table import NonStationarySolver
from tests.flows.toy import GaussianModel
from tests.training.toys import random_split_table, states_of_answers


def random_solver(n: int) -> NonStationarySolver:
    generator = torch.Generator().manual_seed(n)
    times = torch.linspace(0, 1, n + 1, dtype=torch.float64)
    a = 1 + 0.1 * torch.randn(n, generator=generator, dtype=torch.float64)
    return NonStationarySolver(times, a, torch.randn(n, n, generator=generator, dtype=torch.float64).tril() / n)


def by_definition(solver, function, x0):
    """Equation 11 in float64, term by term."""
    x, velocities = x0.double(), []
    for i in range(solver.nfe):
        velocities.append(function(solver.times[i], x))
        x = solver.a[i] * x0.double() + sum(solver.b[i, j] * u for j, u in enumerate(velocities))
    return x


def velocity(t, x):
    return torch.tanh(x) * (1 + t) - x**2 / 7


def field(function=velocity):
    return FunctionField(function, CondOT())


@pytest.mark.parametrize("n", [1, 2, 5, 16])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 1e-5), (torch.bfloat16, 3e-2)])
def test_agrees_with_the_definition(n, dtype, tolerance):
    x0 = torch.randn(5, 3, 2, generator=torch.Generator().manual_seed(0)).to(dtype)
    kept = x0.clone()
    solver = random_solver(n)
    counter = CountingField(field())
    found = solver(counter, x0)
    assert counter.nfe == n
    assert found.dtype == dtype
    assert found.shape == x0.shape
    assert torch.equal(x0, kept)
    expected = by_definition(solver, velocity, x0)
    assert float((found.double() - expected).norm() / expected.norm()) < tolerance


def test_bfloat16_states_are_summed_in_float32():
    """256 steps of 1/256: summed in bfloat16, 1 + 1/256 would still be 1."""
    n = 256
    b = torch.full((n, n), 1 / n, dtype=torch.float64).tril()
    euler = NonStationarySolver(torch.linspace(0, 1, n + 1), torch.ones(n), b)
    found = euler(field(lambda t, x: torch.ones_like(x)), torch.ones(2, dtype=torch.bfloat16))
    assert torch.equal(found, torch.full((2,), 2.0, dtype=torch.bfloat16))


def test_an_autocast_around_it_leaves_the_sums_alone():
    solver, x0 = random_solver(6), torch.randn(64, 8, generator=torch.Generator().manual_seed(1))
    expected = solver(field(), x0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = solver(field(), x0)
    assert torch.equal(found, expected)


def test_a_field_may_keep_and_return_its_input():
    """Each state seen stays as it was when it was seen, and a field that returns its input is no trouble."""
    seen, copies = [], []

    def identity(t, x):
        seen.append(x)
        copies.append(x.clone())
        return x

    x0 = torch.randn(4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    solver = random_solver(5)
    found = solver(field(identity), x0)
    assert all(torch.equal(kept, copy) for kept, copy in zip(seen, copies, strict=True))
    torch.testing.assert_close(found, by_definition(solver, lambda t, x: x, x0), rtol=1e-13, atol=1e-13)


def test_a_field_that_writes_into_its_input_does_not_change_x0():
    x0 = torch.ones(3, 2)
    random_solver(3)(field(lambda t, x: x.mul_(0.5)), x0)
    assert torch.equal(x0, torch.ones(3, 2))


def test_times_are_scalars_of_double_precision_and_no_gradient_is_kept():
    times = []

    def record(t, x):
        times.append(t)
        assert not torch.is_grad_enabled()
        return x

    solver = random_solver(4)
    solver(field(record), torch.ones(2, 3, requires_grad=True))
    assert all(t.ndim == 0 and t.dtype == torch.float64 for t in times)
    assert torch.equal(torch.stack(times), solver.times[:-1])


def test_strided_states_keep_their_order():
    x0 = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(3))
    solver = random_solver(3)
    found = solver(field(), x0.to(memory_format=torch.channels_last))
    assert torch.equal(found, solver(field(), x0))


@pytest.mark.parametrize(
    ("function", "shape"),
    [
        (lambda x, t: x, r"\[\]"),
        (lambda t, x: x.sum(1, keepdim=True), r"\[4, 1\]"),
        (lambda t, x: x[0], r"\[3\]"),
        (lambda t, x: x.flatten(), r"\[12\]"),
        (lambda t, x: torch.cat([x, x], dim=1), r"\[4, 6\]"),
    ],
    ids=["swapped", "per-sample", "one-sample", "flat", "learned-variance"],
)
def test_a_velocity_of_another_shape_is_refused(function, shape):
    sentence = rf"a velocity of shape {shape} for states of shape \[4, 3\]; a field takes \(t, x\)"
    with pytest.raises(UsageError, match=sentence):
        random_solver(2)(field(function), torch.ones(4, 3))


def test_times_are_float32_on_a_device_without_float64(monkeypatch):
    monkeypatch.setattr(precision, "has_float64", lambda device: False)
    seen = []

    def record(t, x):
        seen.append(t.dtype)
        return velocity(t, x)

    x0, solver = torch.randn(5, 3, generator=torch.Generator().manual_seed(4)), random_solver(4)
    found = solver(field(record), x0)
    assert seen == [torch.float32] * 4
    torch.testing.assert_close(found.double(), by_definition(solver, velocity, x0), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 1e-5)])
def test_split_columns_agree_with_their_equation_at_one_call_an_evaluation(n, dtype, tolerance):
    model, table = GaussianModel(), random_split_table(n)
    x0 = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)).to(dtype)
    counter = CountingField(model.field(torch.tensor([0, 1, 2, 0]), 2.0))
    found = table(counter, x0)
    assert model.calls == [8] * n
    assert (counter.nfe, counter.forwards) == (n, 8 * n)
    assert found.dtype == dtype
    expected = states_of_answers(table, model.field(torch.tensor([0, 1, 2, 0]), 2.0), x0.double())[-1]
    assert float((found.double() - expected).norm() / expected.norm()) < tolerance


@pytest.mark.parametrize("guidance", [2.0, -0.5, 7.5])
def test_a_table_of_velocities_is_the_same_solver_with_its_columns_split(guidance):
    field, x0 = GaussianModel().field(torch.tensor([0, 1, 2]), guidance), torch.randn(3, 3, dtype=torch.float64)
    table = random_solver(6)
    torch.testing.assert_close(table.split(guidance)(field, x0), table(field, x0), rtol=1e-12, atol=1e-12)


def test_split_columns_are_refused_where_the_field_has_no_such_answers():
    table, x0 = random_split_table(2), torch.ones(2, 3, dtype=torch.float64)
    with pytest.raises(NotApplicableError, match="it is for w = 2 and cannot run at w = 3"):
        table(GaussianModel().field(torch.tensor([0, 1]), 3.0), x0)
    with pytest.raises(NotApplicableError, match="FunctionField gives a velocity alone"):
        table(field(), x0)


@pytest.mark.parametrize("table", [random_solver(2), random_split_table(2)], ids=["velocities", "split"])
def test_no_samples_and_states_of_no_dimension_do_no_harm(table):
    for x0 in (torch.ones(0, 3, dtype=torch.float64), torch.ones(0, dtype=torch.float64)):
        found = table(Answering(), x0)
        assert found.shape == x0.shape
    alone = torch.tensor(0.3, dtype=torch.float64)
    assert torch.equal(table(Answering(), alone), table(Answering(), alone[None])[0])


class Answering(FunctionField):
    """A field of any shape with both answers, the one without a condition half of the other."""

    def __init__(self):
        super().__init__(velocity, CondOT())

    def answers(self, t, x, guidance):
        return torch.stack([velocity(t, x), 0.5 * velocity(t, x)])
