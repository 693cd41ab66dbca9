from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bnsbench.errors import NotApplicableError
from bnsbench.flows.paths import VP, CondOT
from bnsbench.nonstationary.change_of_path import on_path
from bnsbench.training.families.parametrisation import (
    Block,
    Coefficients,
    FreeTable,
    LinearMultistep,
    LogGaps,
    Parametrisation,
    entries,
    rows_of,
    with_entries,
)
from tests.flows.every_path import OTHERS
from tests.training.families.examples import by_differences, somewhere, up_to
from tests.training.toys import cross, random_split_table, random_table, uniform

FAMILIES: dict[str, Parametrisation] = {
    "free": FreeTable(random_table(5)),
    "coefficients": Coefficients(random_table(5)),
    "multistep": LinearMultistep(uniform(5) ** 1.3),
}


def test_a_family_that_holds_some_last_rows_alone_says_so() -> None:
    family = FAMILIES["multistep"]
    assert not family.holds_last_row
    with pytest.raises(TypeError, match="LinearMultistep does not hold every last row"):
        family.with_last_row(family.start(), torch.zeros(6, dtype=torch.float64))


def test_the_numbers_of_parameters_are_the_papers() -> None:
    for n in (1, 4, 6, 10):
        # The papers count both ends, or one gap too many: n (n + 5) / 2 + 1 of BNS, n (n + 1) / 2 of DSS.
        assert len(FreeTable(random_table(n)).start()) == n * (n + 5) // 2 + 1 - 2
        assert len(LinearMultistep(uniform(n)).start()) == n * (n + 1) // 2 - 1
        # S4S ties the times: the n + 1 of them are what BNS has more.
        assert len(Coefficients(random_table(n)).start()) == n * (n + 5) // 2 + 1 - (n + 1)


@pytest.mark.parametrize("name", OTHERS)
def test_a_free_table_has_the_same_parameters_on_every_path(name: str) -> None:
    """It is one solver for one field, told in other times and scales."""
    path, end = OTHERS[name]
    table = up_to(end)
    told = on_path(table, path, CondOT())
    family, straight = FreeTable(table, path), FreeTable(told)
    torch.testing.assert_close(family.start(), straight.start(), rtol=1e-12, atol=1e-12)
    gaps = told.times.diff()
    torch.testing.assert_close(family.start()[:3], (gaps[:-1] / gaps[-1]).log(), rtol=1e-10, atol=1e-10)
    theta = somewhere(family)
    moved, expected = family.table(theta), straight.table(theta)
    torch.testing.assert_close(path.log_snr(moved.times[1:-1]), CondOT().log_snr(expected.times[1:-1]))
    # The states of both on the field of one mixture, which are each other's but for the paths' scales.
    x0 = torch.randn(3, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    model, straight_model = (cross(each) for each in (path, CondOT()))
    fields = [each.field(torch.tensor([0, 1, 0])) for each in (model, straight_model)]
    first, last = (CondOT().sigma(told.times[0]) / path.sigma(0.0), CondOT().alpha(told.times[-1]) / path.alpha(end))
    ends = moved(fields[0], float(path.sigma(0.0)) * x0), expected(fields[1], first * float(path.sigma(0.0)) * x0)
    torch.testing.assert_close(ends[1] / last, ends[0], rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", OTHERS)
def test_a_free_table_on_any_path_takes_the_last_row_that_is_given(name: str) -> None:
    path, end = OTHERS[name]
    family = FreeTable(up_to(end), path)
    theta = somewhere(family)
    row = torch.tensor([0.3, -1.0, 2.0, 0.5, -0.7], dtype=torch.float64)
    found = family.table(family.with_last_row(theta, row))
    torch.testing.assert_close(found.rows[-1], row, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(found.rows[:-1], family.table(theta).rows[:-1], rtol=0, atol=0)
    assert torch.equal(found.times, family.table(theta).times)


def test_coefficients_leave_the_times_alone() -> None:
    family = FAMILIES["coefficients"]
    assert family.log_gaps == 0
    assert torch.equal(family.table(somewhere(family)).times, random_table(5).times)


def test_multistep_weights_of_every_step_sum_to_one() -> None:
    family = FAMILIES["multistep"]
    table = family.table(somewhere(family))
    assert torch.equal(table.rows[:, 0], torch.ones(5, dtype=torch.float64))
    torch.testing.assert_close(table.rows[:, 1:].sum(1), table.times[1:])


def test_multistep_steps_are_weighted_means_of_velocities() -> None:
    """x_{i+1} = x_i + h_i sum_j c_ij u_j, written out as in the DSS paper."""
    family, n = FAMILIES["multistep"], 5
    theta = somewhere(family)
    table, weights = family.table(theta), iter(theta[n - 1 :].tolist())
    x0, *velocities = torch.randn(n + 1, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = x0
    for i in range(n):
        c = [next(weights) for _ in range(i)]
        c.append(1 - sum(c))
        h = table.times[i + 1] - table.times[i]
        x = x + h * sum(c[j] * velocities[j] for j in range(i + 1))
        basis = torch.stack([x0, *velocities[: i + 1]])
        torch.testing.assert_close(table.rows[i, : i + 2] @ basis, x, rtol=1e-13, atol=1e-13)


def test_log_gaps_return_their_times_and_refuse_repeated_ones() -> None:
    times = 0.1 + 0.7 * uniform(6) ** 2
    gaps = LogGaps(times)
    assert len(gaps.start) == 5
    torch.testing.assert_close(gaps.times(gaps.start), times)
    with pytest.raises(NotApplicableError, match="do not increase"):
        LogGaps(torch.tensor([0.0, 0.5, 0.5, 1.0]))


def test_log_gaps_are_relative_to_the_last_gap() -> None:
    times = LogGaps(uniform(4)).times(torch.tensor([3.0, 1.0, 2.0], dtype=torch.float64).log())
    torch.testing.assert_close(times, torch.tensor([0, 3, 4, 6, 7], dtype=torch.float64) / 7)


def test_entries_make_the_table_again() -> None:
    table, other = random_table(4), random_table(4, seed=1)
    again = with_entries(other, entries(table))
    assert torch.equal(again.times, table.times)
    assert torch.equal(again.rows, table.rows)
    assert len(entries(table)) == 3 + 4 * 7 // 2
    assert torch.equal(
        rows_of(torch.arange(1.0, 10.0), 3), torch.tensor([[1.0, 2.0, 0.0, 0.0], [3.0, 4.0, 5.0, 0.0], [6.0, 7.0, 8.0, 9.0]])
    )


def block(name: str, free: list[int] | slice) -> tuple[Block, Parametrisation, Tensor, Tensor]:
    """A block, its family, the family's parameters and the free indices."""
    family = FAMILIES[name]
    theta = somewhere(family)
    index = torch.arange(len(theta))[free]
    return Block(family, theta, index), family, theta, index


BLOCKS: dict[str, tuple[str, list[int] | slice]] = {
    "all": ("free", slice(None)),
    "times": ("free", slice(4)),
    "rows": ("free", slice(4, None)),
    "some": ("free", [1, 3, 4, 9, 17]),
    "last row": ("coefficients", slice(14, None)),
    "weights": ("multistep", slice(4, None)),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_moves_its_own_parameters_and_holds_the_others(name: str) -> None:
    part, family, theta, index = block(*BLOCKS[name])
    assert torch.equal(part.start(), theta[index])
    assert torch.equal(part.whole(part.start()), theta)
    moved = part.start() + torch.linspace(-0.1, 0.2, len(index), dtype=torch.float64)
    expected = theta.clone()
    expected[index] = moved
    assert torch.equal(part.whole(moved), expected)
    assert torch.equal(entries(part.table(moved)), entries(family.table(expected)))
    assert torch.equal(theta, somewhere(family))


@pytest.mark.parametrize("name", BLOCKS)
def test_the_jacobian_of_a_block_is_its_columns(name: str) -> None:
    part, family, theta, index = block(*BLOCKS[name])
    torch.testing.assert_close(part.jacobian(part.start()), by_differences(part, part.start()), rtol=1e-5, atol=1e-7)
    moved = part.start() + 0.1
    torch.testing.assert_close(part.jacobian(moved), family.jacobian(part.whole(moved))[:, index])
    assert torch.equal(theta, somewhere(family))


def test_a_block_knows_how_many_of_its_parameters_are_log_gaps_and_whether_it_holds_the_last_row() -> None:
    parts = {name: block(*BLOCKS[name])[0] for name in BLOCKS}
    known = {name: (part.log_gaps, part.holds_last_row) for name, part in parts.items()}
    assert all(part.logarithms == part.log_gaps for part in parts.values())
    assert known == {
        "all": (4, True),
        "times": (4, False),
        "rows": (0, True),
        "some": (2, False),
        "last row": (0, True),
        "weights": (0, False),
    }


@pytest.mark.parametrize("name", ["all", "rows", "last row"])
def test_a_block_with_the_last_row_takes_every_one(name: str) -> None:
    part, _, _, _ = block(*BLOCKS[name])
    row = torch.linspace(-1, 1, 6, dtype=torch.float64)
    moved = part.start() + 0.1
    table = part.table(moved)
    replaced = part.table(part.with_last_row(moved, row))
    torch.testing.assert_close(replaced.rows, table.with_row(4, row).rows)
    assert torch.equal(replaced.times, table.times)


def test_split_columns_have_a_number_more_for_every_evaluation_that_a_row_has_seen() -> None:
    for n in (1, 4, 8):
        assert len(FreeTable(random_split_table(n)).start()) == 2 * n - 1 + n * (n + 1)
        assert len(Coefficients(random_split_table(n)).start()) == n + n * (n + 1)
        assert entries(random_split_table(n)).shape == (2 * n - 1 + n * (n + 1),)


def test_families_of_split_columns_keep_their_guidance() -> None:
    start = random_split_table(3, guidance=4.5)
    for family in (FreeTable(start), FreeTable(start, VP()), Coefficients(start)):
        table = family.table(somewhere(family))
        assert (table.guidance, table.columns) == (4.5, 2)
        table.validated()
        again = with_entries(table, entries(table))
        assert torch.equal(again.rows, table.rows)
        assert again.guidance == 4.5
