"""What every family promises, whatever it ties."""

from __future__ import annotations

import pytest
import torch

from bnsbench.training.families.parametrisation import entries
from tests.training.families.examples import EXAMPLES, Example, by_differences, somewhere


@pytest.fixture(params=EXAMPLES)
def example(request: pytest.FixtureRequest) -> Example:
    return EXAMPLES[request.param]


def test_it_starts_from_its_rule(example: Example) -> None:
    found = example.family.table(example.family.start())
    torch.testing.assert_close(found.times, example.start.times, rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(found.rows, example.start.rows, rtol=1e-13, atol=1e-13)
    found.validated()


def test_parameters_and_numbers_are_of_double_precision(example: Example) -> None:
    theta = example.family.start()
    table = example.family.table(theta)
    assert theta.dtype == table.times.dtype == table.rows.dtype == torch.float64
    assert theta.ndim == 1


def test_a_start_is_the_caller_s_own(example: Example) -> None:
    before = example.family.start()
    example.family.start().add_(1.0)
    assert torch.equal(example.family.start(), before)


def test_the_jacobian_is_the_derivative_of_the_entries(example: Example) -> None:
    theta = somewhere(example.family)
    jacobian = example.family.jacobian(theta)
    assert jacobian.shape == (len(entries(example.start)), len(theta))
    torch.testing.assert_close(jacobian, by_differences(example.family, theta), rtol=1e-5, atol=1e-6)


def test_autograd_follows_the_table_of_a_family_that_says_so(example: Example) -> None:
    family, theta = example.family, somewhere(example.family)
    assert family.differentiable == example.differentiable
    if family.differentiable:
        followed = torch.autograd.functional.jacobian(lambda at: entries(family.table(at)), theta)
        torch.testing.assert_close(family.jacobian(theta), followed)


def test_times_stay_in_order_and_within_the_interval_wherever_one_goes(example: Example) -> None:
    family, theta = example.family, example.family.start()
    generator = torch.Generator().manual_seed(0)
    theta[: family.log_gaps] += 3 * torch.randn(family.log_gaps, generator=generator, dtype=torch.float64)
    times = family.table(theta).times
    assert torch.equal(times[[0, -1]], example.start.times[[0, -1]])
    assert (times.diff() >= 0).all()
    assert (times.diff() > 0).sum() >= family.log_gaps + 1


def test_log_gaps_are_the_first_of_its_logarithms(example: Example) -> None:
    family = example.family
    assert family.logarithms == family.log_gaps + example.logarithms
    moved = family.start()
    moved[family.log_gaps :] += 0.01
    if family.log_gaps:  # the others leave those times alone that gaps decide
        assert torch.equal(family.table(moved).times[[0, -1]], example.start.times[[0, -1]])
    assert family.logarithms <= len(moved)


def test_every_last_row_is_taken_or_none(example: Example) -> None:
    family, theta = example.family, somewhere(example.family)
    table = family.table(theta)
    row = torch.linspace(-1, 1, table.rows.shape[1], dtype=torch.float64)
    assert family.holds_last_row == example.last_row
    if example.last_row:
        replaced = family.table(family.with_last_row(theta, row))
        torch.testing.assert_close(replaced.rows, table.with_row(table.nfe - 1, row).rows)
        assert torch.equal(replaced.times, table.times)
    else:
        with pytest.raises(TypeError, match="does not hold every last row"):
            family.with_last_row(theta, row)


def test_looking_at_a_table_changes_nothing(example: Example) -> None:
    theta = somewhere(example.family)
    kept, table = theta.clone(), example.family.table(theta)
    example.family.jacobian(theta)
    assert torch.equal(theta, kept)
    assert torch.equal(example.family.table(theta).rows, table.rows)
