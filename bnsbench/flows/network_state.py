"""What a network is besides its weights: the shape of its samples, its precision, how it is quantised, its adapters.

A table is trained for all of them. What a module holds is looked at, and no library that quantises or adapts is imported.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

QUANTISING = ("bitsandbytes", "torchao", "optimum", "quanto", "gguf", "hqq", "auto_gptq", "gptqmodel", "awq", "nunchaku")
"""Libraries whose kinds of tensors hold quantised weights; diffusers has those of GGUF files in a folder of its own."""

QUANTISED_LAYERS = ("torch.ao.nn.quantized", "torch.ao.nn.intrinsic.quantized")
"""Where torch keeps its own quantised layers, which pack their weights away."""

MOST_KINDS = 4
"""Kinds of quantised tensors that are named."""


@dataclass(frozen=True)
class NetworkState:
    """What a network is besides its weights; None stands for what is not known.

    Args:
        shape: Of one sample.
        dtype: The precision in which it computes, such as "bfloat16".
        quantisation: How its weights are quantised, in words; "" if they are not.
        adapters: The active ones, each with its scale, such as "style x 0.8"; () if there are none.
    """

    shape: tuple[int, ...] | None = None
    dtype: str | None = None
    quantisation: str | None = None
    adapters: tuple[str, ...] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return what is known, JSON-like."""
        known = {name: value for name, value in vars(self).items() if value is not None}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in known.items()}

    @property
    def in_words(self) -> str:
        """What is known, such as "samples of 3x32x32 in float32"; that it is neither quantised nor adapted goes unsaid."""
        facts = [samples_of(self.shape)] if self.shape is not None else []
        facts += [f"in {self.dtype}"] if self.dtype else []
        facts += [quantised(self.quantisation)] if self.quantisation else []
        facts += [adapted(self.adapters)] if self.adapters else []
        return " ".join(facts)

    @classmethod
    def from_dict(cls, description: Any) -> NetworkState:
        """Return what ``to_dict`` described; what it lacks is not known. TypeError for anything else."""
        if not isinstance(description, Mapping):
            raise TypeError("what it says of the network is no object")
        shape, adapters = (_listed(description, name, kind) for name, kind in (("shape", int), ("adapters", str)))
        dtype, quantisation = (_text(description, name) for name in ("dtype", "quantisation"))
        return cls(shape, dtype, quantisation, adapters)


def state_of(shape: Iterable[int], dtype: torch.dtype, networks: Iterable[nn.Module]) -> NetworkState:
    """Return the state of a model.

    Args:
        shape: Of one sample.
        dtype: In which it computes.
        networks: The modules whose weights its prediction uses; without any, nothing is known of quantisation and adapters.
    """
    known = list(networks)
    return NetworkState(
        tuple(shape),
        str(dtype).removeprefix("torch."),
        ", ".join(dict.fromkeys(filter(None, map(quantisation_of, known)))) if known else None,
        tuple(dict.fromkeys(name for each in known for name in adapters_of(each))) if known else None,
    )


def quantisation_of(network: nn.Module) -> str:
    """Return how the weights of a network are quantised, in words; "" if they are not.

    The tensors themselves tell it, then the layers, then the configuration that transformers and diffusers keep.
    """
    kinds = sorted(set(_quantised_kinds(network)))
    if kinds:
        return ", ".join(kinds[:MOST_KINDS])
    config = getattr(network, "config", None)
    told = config.get("quantization_config") if isinstance(config, Mapping) else getattr(config, "quantization_config", None)
    if told is None:
        return ""
    method = told.get("quant_method") if isinstance(told, Mapping) else getattr(told, "quant_method", None)
    return str(getattr(method, "value", method) or "by a method that is not named")


def adapters_of(network: nn.Module) -> tuple[str, ...]:
    """Return the active adapters of PEFT, of which LoRA is one, each with its scale, such as "style x 0.8".

    An adapter whose layers have several scales, or that is merged into the weights, says so; one that is switched off is not
    active.
    """
    found: dict[str, set[str]] = {}
    for part in network.modules():
        for name, how in _adapting(part):
            found.setdefault(name, set()).add(how)
    return tuple(f"{name}{hows.pop() if len(hows) == 1 else ' with several scales'}" for name, hows in sorted(found.items()))


def samples_of(shape: Sequence[int]) -> str:
    """Return a shape in words, such as "samples of 3x32x32" or "samples of 2 numbers"."""
    return f"samples of {'x'.join(map(str, shape)) if len(shape) > 1 else f'{math.prod(shape)} numbers'}"


def quantised(how: str | None) -> str:
    """Return how a network is quantised, for sentences."""
    return f"quantised ({how})" if how else "without quantisation"


def adapted(adapters: Sequence[str] | None) -> str:
    """Return which adapters a network has, for sentences."""
    if not adapters:
        return "without adapters"
    return f"with the adapter{'s' if len(adapters) > 1 else ''} {', '.join(adapters)}"


def _quantised_kinds(network: nn.Module) -> Iterator[str]:
    for tensor in [*network.parameters(), *network.buffers()]:
        for held in (tensor, tensor.data):
            library = _library(type(held))
            if library:
                kind = getattr(held, "quant_type", None)
                yield f"{library} {type(held).__name__}{f' {kind}' if isinstance(kind, str) else ''}"
                break
    for part in network.modules():
        if type(part).__module__.startswith(QUANTISED_LAYERS):
            yield f"torch {type(part).__name__}"
    stored = {parameter.dtype for parameter in network.parameters() if _is_coarse(parameter)}
    yield from (f"weights in {str(dtype).removeprefix('torch.')}" for dtype in stored)


def _library(kind: type[Any]) -> str:
    """Return the library of a kind of tensor if it is one that quantises, else ""."""
    parts = kind.__module__.split(".")
    if parts[0] in QUANTISING:
        return parts[0]
    return "gguf" if parts[0] == "diffusers" and "gguf" in parts else ""


def _is_coarse(tensor: Tensor) -> bool:
    """Return whether a plain parameter is stored in a byte a number, or less."""
    return type(tensor) is nn.Parameter and not _library(type(tensor.data)) and tensor.element_size() == 1


def _adapting(part: nn.Module) -> Iterator[tuple[str, str]]:
    """Yield the active adapters of a layer of PEFT with how they act on it; none of any other layer."""
    active: Any = getattr(part, "active_adapters", None)
    merged: Any = getattr(part, "merged_adapters", None)
    scales: Any = getattr(part, "scaling", None)
    if callable(active) or active is None or merged is None:
        return
    yield from ((name, ", merged") for name in merged)
    if getattr(part, "disable_adapters", False):
        return
    for name in [active] if isinstance(active, str) else active:
        # A layer that an adapter leaves alone has no scale of it; layers of some kinds of adapters have no scales at all.
        if name not in merged and (not isinstance(scales, Mapping) or name in scales):
            scale = scales[name] if isinstance(scales, Mapping) else None
            yield name, f" x {scale:.4g}" if isinstance(scale, int | float) else ""


def _listed(description: Mapping[str, Any], name: str, kind: type[Any]) -> tuple[Any, ...] | None:
    found = description.get(name)
    if found is not None and not (isinstance(found, list) and all(type(each) is kind for each in found)):
        raise TypeError(f"the {name} of its network is no list")
    return None if found is None else tuple(found)


def _text(description: Mapping[str, Any], name: str) -> str | None:
    found = description.get(name)
    if not isinstance(found, str | None):
        raise TypeError(f"the {name} of its network is no text")
    return found
