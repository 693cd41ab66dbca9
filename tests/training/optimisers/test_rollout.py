from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from bnsbench.flows.fields import BatchField, CountingField, FunctionField
from bnsbench.flows.model import ModelField
from bnsbench.flows.paths import CondOT
from bnsbench.nonstationary.table import NonStationarySolver, free_entries
from bnsbench.training.families.parametrisation import entries, with_entries
from bnsbench.training.optimisers.rollout import Rollout, differentiable_states, end_states, gradient_rows, run
from tests.flows.toy import GaussianModel, SineField
from tests.training.toys import random_split_table, random_table, states_of_answers


def start(n: int, dim: int = 3, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(7), dtype=torch.float64).to(dtype)


def draw(*shape: int, seed: int = 3) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def field_of(kind: str) -> BatchField:
    """A field for four samples."""
    return SineField() if kind == "sine" else GaussianModel(CondOT()).field(torch.tensor([0, 1, 2, 0]), 2.0)


def parameters(table: NonStationarySolver) -> Tensor:
    """What `plain_states` takes: (t_1 .. t_{n-1}, row entries)."""
    return torch.cat([table.times[1:-1], table.rows[free_entries(table.nfe)]])


def plain_states(table: NonStationarySolver, theta: Tensor, field: BatchField, x0: Tensor) -> Tensor:
    """The sampler written plainly: states x_1 .. x_n [n, N, d], as a function of parameters in place of the table's."""
    n = table.nfe
    times, entries = [table.times[0], *theta[: n - 1]], iter(theta[n - 1 :])
    velocities, x, states = [], x0, []
    for i in range(n):
        velocities.append(field(times[i], x))
        x = next(entries) * x0
        for u in velocities:
            x = x + next(entries) * u
        states.append(x)
    return torch.stack(states)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_rollout_ends_where_the_engine_ends(dtype: torch.dtype) -> None:
    table, x0 = random_table(6), start(5, dtype=dtype)
    rollout = run(table, SineField(), x0)
    torch.testing.assert_close(rollout.end, table(SineField(), x0))
    assert rollout.end.dtype == dtype


@pytest.mark.parametrize("kind", ["sine", "guided"])
def test_a_rollout_keeps_every_state_and_velocity(kind: str) -> None:
    table, x0, field = random_table(6), start(4), field_of(kind)
    rollout = run(table, field, x0)
    assert rollout.states.shape == rollout.basis.shape == (7, 4, 3)
    torch.testing.assert_close(rollout.states[1:], plain_states(table, parameters(table), field, x0))
    assert torch.equal(rollout.states[0], x0)
    assert torch.equal(rollout.basis[0], x0)
    for i in range(6):
        torch.testing.assert_close(rollout.basis[i + 1], field(table.times[i], rollout.states[i]))


def test_a_bfloat16_field_is_combined_in_float32() -> None:
    rollout = run(random_table(3), SineField(), start(4, dtype=torch.bfloat16))
    assert rollout.end.dtype == torch.float32


def test_a_table_that_is_being_differentiated_is_run_without_gradients() -> None:
    table = random_table(3)
    traced = NonStationarySolver.from_rows(table.times.clone().requires_grad_(), table.rows.clone().requires_grad_())
    assert not run(traced, SineField(), start(4)).states.requires_grad


def test_errors_are_mean_squares_per_sample() -> None:
    rollout = run(random_table(2), SineField(), start(4))
    truth = rollout.end + torch.tensor([1.0, 2.0, 0.0, 3.0], dtype=torch.float64)[:, None]
    torch.testing.assert_close(rollout.errors(truth), torch.tensor([1.0, 4.0, 0.0, 9.0], dtype=torch.float64))


def test_another_end_leaves_the_other_states_and_the_velocities() -> None:
    rollout, end = run(random_table(4), SineField(), start(2)), draw(2, 3)
    changed = rollout.with_end(end)
    assert torch.equal(changed.end, end)
    assert torch.equal(changed.states[:-1], rollout.states[:-1])
    assert changed.basis is rollout.basis
    assert not torch.equal(rollout.end, end)


def test_objectives_see_the_end_or_every_state_but_the_first() -> None:
    table = random_table(4)
    rollout = run(table, SineField(), start(2))
    end, moment = rollout.compared(table, whole=False)
    assert torch.equal(end, rollout.states[4:])
    assert torch.equal(moment, torch.ones(1, 2, dtype=torch.float64))
    states, times = rollout.compared(table, whole=True)
    assert torch.equal(states, rollout.states[1:])
    assert torch.equal(times, torch.stack([table.times[1:], table.times[1:]], dim=1))


@pytest.mark.parametrize(("n", "reach"), [(1, 1), (2, 1), (2, 2), (5, 1), (5, 3), (5, 5)])
@pytest.mark.parametrize("kind", ["sine", "guided"])
def test_gradient_rows_agree_with_autograd_for_every_sample(n: int, reach: int, kind: str) -> None:
    x0, field, table = start(4), field_of(kind), random_table(n)
    cotangents = draw(2, reach, 4, 3)
    rows = gradient_rows(table, field, x0, run(table, field, x0), cotangents)
    jacobian = torch.autograd.functional.jacobian(lambda p: plain_states(table, p, field, x0), parameters(table))
    torch.testing.assert_close(rows, torch.einsum("kmnd,mndp->knp", cotangents, jacobian[-reach:]))


@pytest.mark.parametrize(
    "function",
    [
        lambda t, x: torch.ones_like(x),
        lambda t, x: torch.sin(x),
        lambda t, x: torch.cos(3 * t).to(x).reshape(-1, 1) * torch.ones_like(x),
    ],
    ids=["constant", "no time", "no state"],
)
def test_a_field_that_knows_no_time_or_no_state_has_gradient_rows_all_the_same(function) -> None:
    x0, field, table = start(4), FunctionField(function, CondOT()), random_table(4)
    cotangents = draw(2, 4, 4, 3)
    rows = gradient_rows(table, field, x0, run(table, field, x0), cotangents)
    jacobian = torch.autograd.functional.jacobian(lambda p: plain_states(table, p, field, x0), parameters(table))
    torch.testing.assert_close(rows, torch.einsum("kmnd,mndp->knp", cotangents, jacobian))


@pytest.mark.parametrize("cotangent_dtype", [torch.float32, torch.float64])
def test_gradient_rows_in_float32_are_those_in_float64_to_its_rounding(cotangent_dtype: torch.dtype) -> None:
    table, x0, cotangents = random_table(4), start(4), draw(2, 4, 4, 3)
    exact = gradient_rows(table, SineField(), x0, run(table, SineField(), x0), cotangents)
    rollout = run(table, SineField(), x0.float())
    rows = gradient_rows(table, SineField(), x0.float(), rollout, cotangents.to(cotangent_dtype))
    assert rows.dtype == torch.float64
    torch.testing.assert_close(rows, exact, rtol=0, atol=2e-5)


def test_gradient_rows_cost_one_evaluation_less_than_a_run() -> None:
    table, x0, field = random_table(5), start(4), CountingField(SineField())
    rollout = run(table, field, x0)
    assert field.nfe == 5
    gradient_rows(table, field, x0, rollout, draw(3, 5, 4, 3))
    assert field.nfe == 9


def test_a_cotangent_of_nothing_before_the_end_is_one_of_the_end_alone() -> None:
    table, x0 = random_table(5), start(4)
    rollout, end = run(table, SineField(), x0), draw(2, 1, 4, 3)
    padded = torch.cat([torch.zeros(2, 4, 4, 3, dtype=torch.float64), end], dim=1)
    rows = [gradient_rows(table, SineField(), x0, rollout, cotangents) for cotangents in (end, padded)]
    assert torch.equal(*rows)


def test_shapes_of_images_are_kept_for_the_field() -> None:
    x0, table = draw(2, 1, 2, 3), random_table(3)
    seen = []

    class Image(SineField):
        def __call__(self, t, x):
            seen.append(tuple(x.shape))
            return super().__call__(t, x)

    rollout = run(table, Image(), x0)
    gradient_rows(table, Image(), x0, rollout, torch.ones(1, 1, 2, 6, dtype=torch.float64))
    states = differentiable_states(table, Image(), x0)
    assert set(seen) == {(2, 1, 2, 3)}
    torch.testing.assert_close(states, rollout.states[1:])
    assert isinstance(rollout, Rollout)


def differentiated(
    table: NonStationarySolver, field: BatchField, x0: Tensor, checkpointed: bool
) -> tuple[Tensor, list[Tensor]]:
    """The states, and the gradients in times, rows and x0 of a random combination of all of them."""
    inputs = [value.detach().clone().requires_grad_() for value in (table.times, table.rows, x0)]
    states = differentiable_states(NonStationarySolver.from_rows(inputs[0], inputs[1]), field, inputs[2], checkpointed)
    combined = (states * draw(*states.shape)).sum()
    return states.detach(), list(torch.autograd.grad(combined, inputs))


@pytest.mark.parametrize("kind", ["sine", "guided"])
@pytest.mark.parametrize("checkpointed", [False, True], ids=["kept", "checkpointed"])
def test_states_are_differentiable_in_times_rows_and_noise(kind: str, checkpointed: bool) -> None:
    table, x0, field = random_table(4), start(4), field_of(kind)
    states, (by_times, by_rows, by_noise) = differentiated(table, field, x0, checkpointed)
    theta, noise = parameters(table).requires_grad_(), x0.clone().requires_grad_()
    plain = plain_states(table, theta, field, noise)
    torch.testing.assert_close(states, plain.detach())
    expected, expected_noise = torch.autograd.grad((plain * draw(*plain.shape)).sum(), (theta, noise))
    torch.testing.assert_close(torch.cat([by_times[1:-1], by_rows[free_entries(4)]]), expected)
    torch.testing.assert_close(by_noise, expected_noise)
    # The end lies where no evaluation is; entries above the diagonal are no parameters.
    assert by_times[-1] == 0
    assert not by_rows.triu(2).any()


def test_checkpointing_changes_no_number() -> None:
    table, x0 = random_table(5), start(4)
    plain, checkpointed = (differentiated(table, field_of("guided"), x0, on) for on in (False, True))
    assert torch.equal(plain[0], checkpointed[0])
    for gradient, again in zip(plain[1], checkpointed[1], strict=True):
        assert torch.equal(gradient, again)


def test_checkpointing_evaluates_once_more_on_the_way_back() -> None:
    for checkpointed, spent in ((False, 5), (True, 10)):
        field = CountingField(SineField())
        differentiated(random_table(5), field, start(4), checkpointed)
        assert field.nfe == spent


@pytest.mark.parametrize("kind", ["sine", "guided"])
@pytest.mark.parametrize("rows_at_once", [1, 9, 100])
def test_tables_that_run_together_end_where_each_ends_alone(kind: str, rows_at_once: int) -> None:
    tables, field, x0 = [random_table(5, seed) for seed in range(4)], field_of(kind), start(4)
    counter = CountingField(field)
    found = list(end_states(tables, counter, x0, rows_at_once))
    assert len(found) == 4
    for table, end in zip(tables, found, strict=True):
        torch.testing.assert_close(end, run(table, field, x0).end, rtol=1e-12, atol=1e-12)


GUIDANCE, SEVEN = 2.0, torch.tensor([0, 1, 2, 0])


def entries_of_split(n: int) -> tuple[Tensor, Callable[[Tensor], Tensor], NonStationarySolver, ModelField, Tensor]:
    """Parameters of a split table, the states [n, N, d] by its equation as their function, the table, field and noise."""
    table, field, x0 = random_split_table(n), GaussianModel(CondOT()).field(SEVEN, GUIDANCE), start(4)

    def states(theta: Tensor) -> Tensor:
        told = with_entries(table, theta)
        return torch.stack(states_of_answers(told, field, x0))

    return entries(table), states, table, field, x0


def test_a_rollout_of_split_columns_keeps_every_state_and_both_answers() -> None:
    theta, states, table, field, x0 = entries_of_split(5)
    rollout = run(table, field, x0)
    assert rollout.basis.shape == (11, 4, 3)
    torch.testing.assert_close(rollout.states[1:], states(theta))
    torch.testing.assert_close(rollout.end, table(field, x0))
    for i in (0, 3):
        both = field.answers(table.times[i], rollout.states[i], GUIDANCE)
        torch.testing.assert_close(rollout.basis[1 + 2 * i : 3 + 2 * i], both)


@pytest.mark.parametrize(("n", "reach"), [(1, 1), (2, 2), (5, 1), (5, 5)])
def test_gradient_rows_of_split_columns_agree_with_autograd(n: int, reach: int) -> None:
    theta, states, table, field, x0 = entries_of_split(n)
    cotangents = draw(2, reach, 4, 3)
    rows = gradient_rows(table, field, x0, run(table, field, x0), cotangents)
    jacobian = torch.autograd.functional.jacobian(states, theta)
    assert rows.shape == (2, 4, 2 * n - 1 + n * (n + 1))
    torch.testing.assert_close(rows, torch.einsum("kmnd,mndp->knp", cotangents, jacobian[-reach:]))


@pytest.mark.parametrize("checkpointed", [False, True], ids=["kept", "checkpointed"])
def test_states_of_split_columns_are_differentiable(checkpointed: bool) -> None:
    theta, states, table, field, x0 = entries_of_split(4)
    followed = theta.clone().requires_grad_()
    found = differentiable_states(with_entries(table, followed), field, x0, checkpointed)
    torch.testing.assert_close(found, states(theta))
    weights = draw(*found.shape)
    (gradient,) = torch.autograd.grad((found * weights).sum(), followed)
    expected = torch.autograd.functional.jacobian(lambda at: (states(at) * weights).sum(), theta)
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("rows_at_once", [1, 100])
def test_split_tables_that_run_together_end_where_each_ends_alone(rows_at_once: int) -> None:
    tables, field, x0 = [random_split_table(4, seed) for seed in range(3)], GaussianModel().field(SEVEN, GUIDANCE), start(4)
    for table, end in zip(tables, end_states(tables, field, x0, rows_at_once), strict=True):
        torch.testing.assert_close(end, run(table, field, x0).end, rtol=1e-12, atol=1e-12)
