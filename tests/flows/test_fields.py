from __future__ import annotations

import torch

from bnsbench.flows.fields import CountingField, FunctionField
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
