from __future__ import annotations

import pytest
import torch

from bnsbench.flows.paths import CondOT
from bnsbench.training.rollout import gradient_rows, run
from bnsbench.training.table import Table, lower
from tests.flows.toy import GaussianModel, SineField
from tests.training.test_table import random_table


def start(n: int, dim: int = 3, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(7), dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_rollout_ends_where_the_engine_ends(dtype: torch.dtype) -> None:
    table, x0 = random_table(6), start(5, dtype=dtype)
    rollout = run(table, SineField(), x0)
    torch.testing.assert_close(rollout.end, table.solver()(SineField(), x0))
    torch.testing.assert_close(rollout.states[0], x0)
    torch.testing.assert_close(rollout.basis[3], SineField()(table.times[2], rollout.states[2]))


def test_a_bfloat16_field_is_combined_in_float32() -> None:
    rollout = run(random_table(3), SineField(), start(4, dtype=torch.bfloat16))
    assert rollout.end.dtype == torch.float32


def test_errors_are_mean_squares_per_sample() -> None:
    rollout = run(random_table(2), SineField(), start(4))
    truth = rollout.end + torch.tensor([1.0, 2.0, 0.0, 3.0], dtype=torch.float64)[:, None]
    torch.testing.assert_close(rollout.errors(truth), torch.tensor([1.0, 4.0, 0.0, 9.0], dtype=torch.float64))


def end_state(table: Table, theta: torch.Tensor, field, x0: torch.Tensor) -> torch.Tensor:
    """The sampler written plainly, as a function of (t_1 .. t_{n-1}, row entries), for autograd."""
    n = table.n
    times = torch.cat([table.times[:1], theta[: n - 1]])
    rows = torch.zeros(n, n + 1, dtype=torch.float64).index_put(lower(n), theta[n - 1 :])
    basis, x = [x0], x0
    for i in range(n):
        basis.append(field(times[i], x))
        x = sum(rows[i, j] * basis[j] for j in range(i + 2))
    return x


@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize("kind", ["sine", "guided"])
def test_gradient_rows_agree_with_autograd_for_every_sample(n: int, kind: str) -> None:
    x0 = start(4)
    field = SineField() if kind == "sine" else GaussianModel(CondOT()).field(torch.tensor([0, 1, 2, 0]), 2.0)
    table = random_table(n)
    rollout = run(table, field, x0)
    cotangents = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    rows = gradient_rows(table, field, x0, rollout, cotangents)
    theta = torch.cat([table.times[1:-1], table.rows[lower(n)]])
    jacobian = torch.autograd.functional.jacobian(lambda p: end_state(table, p, field, x0), theta)
    torch.testing.assert_close(rows, torch.einsum("knd,ndp->knp", cotangents, jacobian))


def test_shapes_of_images_are_kept_for_the_field() -> None:
    x0 = torch.randn(2, 1, 2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    seen = []

    class Image(SineField):
        def __call__(self, t, x):
            seen.append(tuple(x.shape))
            return super().__call__(t, x)

    rollout = run(random_table(3), Image(), x0)
    gradient_rows(random_table(3), Image(), x0, rollout, torch.ones(1, 2, 6, dtype=torch.float64))
    assert set(seen) == {(2, 1, 2, 3)}
