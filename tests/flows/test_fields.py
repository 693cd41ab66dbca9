from __future__ import annotations

import pytest
import torch

from bnsbench.errors import NotApplicableError
from bnsbench.flows.fields import Columns, CountingField, FunctionField
from bnsbench.flows.paths import VP, CondOT
from tests.flows.toy import GaussianModel


def test_counting_counts_calls_evaluations_and_forwards() -> None:
    counter = CountingField(GaussianModel().field(torch.tensor([0, 1, 2]), 2.0))
    x = torch.zeros(3, 3, dtype=torch.float64)
    for _ in range(4):
        counter(torch.tensor(0.5), x)
    assert (counter.nfe, counter.evaluations, counter.forwards) == (4, 12, 24)
    assert counter.path == CondOT()
    assert counter.interval == (0.0, 1.0)


def test_a_part_counts_for_itself() -> None:
    counter = CountingField(GaussianModel().field(torch.tensor([0, 1, 2])))
    part = counter.part(slice(0, 1))
    part(torch.tensor(0.5), torch.zeros(1, 3, dtype=torch.float64))
    assert (part.nfe, part.evaluations, counter.nfe) == (1, 1, 0)


def test_a_function_is_a_field() -> None:
    field = FunctionField(lambda t, x: t * x, VP(), (0.0, 0.999))
    assert torch.equal(field(torch.tensor(2.0), torch.ones(2)), torch.full((2,), 2.0))
    assert field.part(slice(1)) is field
    assert field.interval == (0.0, 0.999)
    assert field.forwards_per_evaluation == 1


def test_both_answers_are_one_evaluation_and_two_forwards() -> None:
    x, t = torch.ones(3, 3, dtype=torch.float64), torch.tensor(0.5)
    field = GaussianModel().field(torch.tensor([0, 1, 2]), 2.0)
    counter = CountingField(field)
    assert torch.equal(counter.answers(t, x, 2.0), field.answers(t, x, 2.0))
    assert (counter.nfe, counter.evaluations, counter.forwards) == (1, 3, 6)


def test_columns_are_the_velocity_or_both_answers() -> None:
    x, t = torch.ones(3, 3, dtype=torch.float64), torch.tensor(0.5)
    field = GaussianModel().field(torch.tensor([0, 1, 2]), 2.0)
    assert torch.equal(Columns(field)(t, x), field(t, x)[None])
    both = Columns(field, 2.0)(t, x)
    assert torch.equal(both, field.answers(t, x, 2.0))
    torch.testing.assert_close(3 * both[0] - 2 * both[1], field(t, x), rtol=1e-13, atol=1e-13)


def test_a_field_that_gives_a_velocity_alone_has_no_answers() -> None:
    field = FunctionField(lambda t, x: x, CondOT())
    for asked in (Columns(field, 2.0), Columns(CountingField(field), 2.0)):
        with pytest.raises(NotApplicableError, match="FunctionField gives a velocity alone"):
            asked(torch.tensor(0.5), torch.ones(2, 1))
