"""What modules tell of quantisation and adapters: torch's own, and layers and tensors that look as those of libraries do."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from bnsbench.flows.network_state import NetworkState, adapters_of, quantisation_of, state_of


class Adapted(nn.Linear):
    """A layer as PEFT puts one in place of another: it has the attributes of its ``LoraLayer``."""

    def __init__(self, scaling: dict[str, float] | None, active: list[str], merged: tuple[str, ...] = (), off: bool = False):
        super().__init__(2, 2)
        if scaling is not None:
            self.scaling = scaling
        self.active_adapters, self.merged_adapters, self.disable_adapters = active, list(merged), off


def held_by(library: str, name: str, **facts: Any) -> nn.Linear:
    """A layer whose weight is of a kind that a library has."""
    layer = nn.Linear(2, 2)
    kind = type(name, (nn.Parameter,), {"__module__": library})
    layer.weight = kind(layer.weight.data)
    for key, value in facts.items():
        setattr(layer.weight, key, value)
    return layer


def test_a_plain_network_is_neither_quantised_nor_adapted() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    found = state_of((3, 32, 32), torch.bfloat16, [network])
    assert found == NetworkState((3, 32, 32), "bfloat16", "", ())
    assert found.in_words == "samples of 3x32x32 in bfloat16"


def test_without_modules_nothing_is_known_of_them() -> None:
    assert state_of((2,), torch.float64, []) == NetworkState((2,), "float64", None, None)


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (held_by("bitsandbytes.nn.modules", "Params4bit", quant_type="nf4"), "bitsandbytes Params4bit nf4"),
        (held_by("torchao.quantization", "Int8Tensor"), "torchao Int8Tensor"),
        (held_by("diffusers.quantizers.gguf.utils", "GGUFParameter", quant_type=3), "gguf GGUFParameter"),
        (held_by("diffusers.models.attention", "Parameter2"), ""),
        (nn.Linear(2, 2).to(torch.float8_e4m3fn), "weights in float8_e4m3fn"),
        (nn.Linear(2, 2).to(torch.float16), ""),
    ],
)
def test_tensors_tell_how_they_are_quantised(network: nn.Module, words: str) -> None:
    assert quantisation_of(nn.Sequential(nn.Linear(2, 2), network)) == words


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_torch_s_own_quantised_layers_are_known() -> None:
    layer = torch.ao.nn.quantized.dynamic.Linear(4, 2)
    assert "torch Linear" in quantisation_of(nn.Sequential(layer))


@pytest.mark.parametrize(
    "config",
    [
        {"quantization_config": {"quant_method": "fancy"}},
        SimpleNamespace(quantization_config=SimpleNamespace(quant_method=SimpleNamespace(value="fancy"))),
    ],
)
def test_a_configuration_tells_where_tensors_do_not(config: object) -> None:
    network = nn.Linear(2, 2)
    setattr(network, "config", config)  # noqa: B010 (modules take anything, types do not)
    assert quantisation_of(network) == "fancy"


def test_active_adapters_are_told_with_their_scales() -> None:
    layers = [Adapted({"style": 0.8}, ["style", "two"]), Adapted({"style": 0.8, "two": 1.0}, ["style", "two"])]
    assert adapters_of(nn.Sequential(*layers)) == ("style x 0.8", "two x 1")
    assert adapters_of(nn.Sequential(layers[0], Adapted({"style": 0.4}, ["style"]))) == ("style with several scales",)
    assert adapters_of(nn.Sequential(Adapted({"style": 0.8, "two": 1.0}, ["two"]))) == ("two x 1",)
    assert adapters_of(Adapted(None, ["scaled"])) == ("scaled",)  # as those of IA3, which have no scale
    assert adapters_of(Adapted({"style": 0.8}, ["style"], merged=("style",))) == ("style, merged",)
    assert adapters_of(Adapted({"style": 0.8}, ["style"], off=True)) == ()


@pytest.mark.parametrize(
    "state", [NetworkState(), NetworkState((2,), "float32"), NetworkState((3, 8, 8), "bfloat16", "torchao", ("a x 2",))]
)
def test_a_description_is_read_again(state: NetworkState) -> None:
    assert NetworkState.from_dict(state.to_dict()) == state


@pytest.mark.parametrize("odd", [3, [], {"shape": "3"}, {"shape": [True]}, {"adapters": [1]}, {"dtype": 32}])
def test_an_odd_description_is_none(odd: object) -> None:
    with pytest.raises(TypeError):
        NetworkState.from_dict(odd)
