from __future__ import annotations

import torch

from bnsbench.flows.paths import CondOT
from bnsbench.nonstationary.tracing import trace
from bnsbench.solvers.runge_kutta import heun
from bnsbench.training.families.table import Table, lower, transfer_times


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


def test_repeated_times_can_be_opened() -> None:
    table = Table.of(trace(lambda field, x0: heun(field, x0, 4), CondOT()))
    assert not (table.times.diff() > 0).all()
    opened = table.opened()
    assert (opened.times.diff() > 0).all()
    torch.testing.assert_close(opened.times, table.times, rtol=0, atol=1e-3)
    assert torch.equal(opened.rows, table.rows)


def test_opened_gaps_are_at_least_the_smallest_and_the_ends_stay() -> None:
    times = torch.tensor([0.0, 0.0, 0.4, 0.4, 0.4, 0.9, 0.9], dtype=torch.float64)
    opened = Table(times, random_table(6).rows).opened(1e-2)
    assert opened.times.diff().min() > 0.9 * 1e-2 * 0.95
    assert (opened.times[0], opened.times[-1]) == (0.0, 0.9)
    regular = random_table(6)
    torch.testing.assert_close(regular.opened(1e-6).times, regular.times)


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
