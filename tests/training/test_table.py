from __future__ import annotations

import pytest
import torch

from bnsbench.errors import NotApplicableError
from bnsbench.flows.paths import CondOT
from bnsbench.nonstationary.tracing import trace
from bnsbench.solvers.runge_kutta import heun
from bnsbench.training.table import Table, lower, transfer_times


def random_table(n: int, seed: int = 0) -> Table:
    generator = torch.Generator().manual_seed(seed)
    gaps = torch.rand(n, generator=generator, dtype=torch.float64) + 0.2
    times = torch.cat([torch.zeros(1, dtype=torch.float64), torch.cumsum(gaps / gaps.sum(), 0)])
    times[-1] = 1.0
    rows = torch.tril(torch.randn(n, n + 1, generator=generator, dtype=torch.float64) * 0.2, 1)
    rows[:, 0] = 1.0
    return Table(times, rows)


def test_a_table_is_the_solver_it_came_from() -> None:
    solver = random_table(5).solver()
    again = Table.of(solver).solver()
    assert torch.equal(again.times, solver.times)
    assert torch.equal(again.a, solver.a)
    assert torch.equal(again.b, solver.b)


def test_the_paper_s_number_of_parameters() -> None:
    for n in (1, 4, 8, 17):
        free = len(lower(n)[0])
        assert free + n + 1 == n * (n + 5) // 2 + 1


def test_no_step_changes_nothing_and_times_stay_increasing_after_any_step() -> None:
    table = random_table(6)
    size = 5 + 6 * 9 // 2
    still = table.moved(torch.zeros(size, dtype=torch.float64))
    torch.testing.assert_close(still.times, table.times, rtol=0, atol=1e-15)
    assert torch.equal(still.rows, table.rows)
    step = 2 * torch.randn(size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    moved = table.moved(step)
    assert (moved.times.diff() > 0).all()
    assert moved.times[0] == 0
    assert moved.times[-1] == 1
    torch.testing.assert_close((moved.rows - table.rows)[lower(6)], step[5:])


def test_the_time_jacobian_is_that_of_the_step() -> None:
    table = random_table(5)
    size = 4 + 5 * 8 // 2

    def times(step: torch.Tensor) -> torch.Tensor:
        logs = torch.log(table.times.diff())
        logs = torch.cat([logs[:-1] + step, logs[-1:]])
        return torch.cumsum(torch.softmax(logs, 0), 0)[:-1]

    expected = torch.autograd.functional.jacobian(times, torch.zeros(4, dtype=torch.float64))
    torch.testing.assert_close(table.time_jacobian(), expected)
    step = torch.zeros(size, dtype=torch.float64)
    step[1] = 0.3
    torch.testing.assert_close(table.moved(step).times[1:-1], times(step[:4]))


def test_repeated_times_must_be_opened_first() -> None:
    table = Table.of(trace(lambda field, x0: heun(field, x0, 4), CondOT()))
    with pytest.raises(NotApplicableError, match="open them first"):
        table.moved(torch.zeros(3 + 14, dtype=torch.float64))
    opened = table.opened()
    assert (opened.times.diff() > 0).all()
    torch.testing.assert_close(opened.times, table.times, rtol=0, atol=1e-3)


def test_a_row_can_be_replaced() -> None:
    row = torch.arange(4, dtype=torch.float64)
    replaced = random_table(5).with_row(2, row)
    assert torch.equal(replaced.rows[2, :4], row)
    assert torch.equal(replaced.rows[1], random_table(5).rows[1])


def test_transferred_times_keep_ends_and_shape() -> None:
    coarse = torch.linspace(0, 1, 5, dtype=torch.float64) ** 2
    fine = transfer_times(coarse, 12)
    assert (fine.diff() > 0).all()
    assert fine[0] == 0
    assert fine[-1] == 1
    torch.testing.assert_close(fine, torch.linspace(0, 1, 13, dtype=torch.float64) ** 2, rtol=0, atol=0.03)
    torch.testing.assert_close(transfer_times(coarse, 8)[::2], coarse)
