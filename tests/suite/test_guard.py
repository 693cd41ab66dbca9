from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn

from bnsbench.suite.guard import CHUNK, Seal, numbers, tensors_of, weighted_sum


@pytest.mark.parametrize(
    "write",
    [
        lambda x: x.add_(1),
        lambda x: x.neg_(),
        lambda x: x.view(-1)[3:4].zero_(),
        lambda x: x.data.mul_(2),
        lambda x: x.data.copy_(x.flip(0)),
        lambda x: x.data.neg_(),
        lambda x: x.numpy().fill(7),
        lambda x: x.copy_(x.clone()),
    ],
)
def test_every_way_to_write_is_found(write):
    seal, x = Seal(), torch.arange(12.0).reshape(3, 4)
    seal.add("x", [x])
    seal.add("y", [torch.ones(3)])
    assert seal.broken() == []
    write(x)
    assert seal.broken() == ["x"]


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.float16, torch.bfloat16, torch.float64, torch.complex64])
def test_numbers_of_any_type(dtype):
    x = torch.ones(2, 3).to(dtype)
    before = numbers([x])
    assert numbers([x.clone()]) == before
    assert numbers([torch.zeros(2, 3).to(dtype)]) != before
    assert numbers([torch.ones(0)]) != before
    assert numbers([torch.full((2,), float("nan"))]) == numbers([torch.full((2,), float("nan"))])


def test_tensors_are_found_wherever_a_model_holds_them():
    @dataclass
    class Data:
        images: torch.Tensor

    class Model:
        def __init__(self):
            self.network = nn.BatchNorm1d(2)
            self.named: dict[str, Any] = {"a": [torch.ones(1)], "data": Data(torch.ones(2))}
            self.itself, self.text, self.made = self, "text", torch.nn

    model = Model()
    found = list(tensors_of(model))
    held = [*model.network.parameters(), *model.network.buffers(), model.named["a"][0], model.named["data"].images]
    assert {id(tensor) for tensor in found} == {id(tensor) for tensor in held}
    assert len(found) == len(held)


def test_the_sum_on_devices_tells_bits_and_their_order():
    bits = torch.arange(CHUNK + 5).to(torch.uint8)
    before = weighted_sum(bits)
    assert weighted_sum(bits.clone()) == before
    for place in (0, 1, CHUNK - 1, CHUNK, CHUNK + 4):
        changed = bits.clone()
        changed[place] += 1
        assert weighted_sum(changed) != before
    assert weighted_sum(bits.flip(0)) != before
    assert weighted_sum(torch.zeros(0, dtype=torch.uint8)) == 0


class Owner:
    def __init__(self):
        self.network = nn.Linear(2, 2)
        self.facts: Any = (1, 2)
        self.other = 2

    def act(self):
        """Do something."""


@pytest.mark.parametrize(
    "change",
    [
        lambda owner: setattr(owner, "facts", (1, 3)),
        lambda owner: setattr(owner, "act", lambda: None),
        lambda owner: owner.network.eval(),
        lambda owner: owner.network.register_forward_hook(print),
        lambda owner: setattr(owner.network, "weight", nn.Parameter(owner.network.weight.clone())),
        lambda owner: owner.network.weight.data.add_(1),
    ],
)
def test_what_a_model_is_like_is_sealed_as_well(change):
    owner, seal = Owner(), Seal()
    seal.add_holder("the model", owner, ("facts", "act"))
    owner.other = 3  # what is not among the attributes
    assert seal.broken() == []
    change(owner)
    assert seal.broken() == ["the model"]


def test_a_tensor_without_numbers_has_no_checksum():
    assert numbers([torch.zeros(3, device="meta")]) == (None,)
