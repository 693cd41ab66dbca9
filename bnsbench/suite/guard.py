"""Seals on tensors that cells share and may only read: they tell whether anything has written into them."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

VISITED = 200_000
"""Objects looked at for tensors in a model; the rest of a larger one (a tokenizer, say) goes unguarded."""

Digest = tuple[int, int | None]
Numbers = tuple[int | None, ...]
Form = tuple[object, ...]

CHUNK = 2**22
"""Numbers that are summed together on a device."""


@dataclass
class Seal:
    """Tensors by their names for people, with checksums from when they were added, and what networks are like besides."""

    _kept: dict[str, list[tuple[Tensor, Digest]]] = field(default_factory=dict)
    _forms: dict[str, list[tuple[Callable[[], Form], Form]]] = field(default_factory=dict)

    def add(self, name: str, tensors: Iterable[Tensor]) -> None:
        """Seal further tensors as they are now."""
        self._kept.setdefault(name, []).extend((tensor, digest(tensor)) for tensor in tensors)

    def add_holder(self, name: str, holder: object, attributes: Collection[str]) -> None:
        """Seal an object as it is now: the tensors that it holds, the state of its networks, and some of its attributes."""
        held = list(things_in(holder))
        self.add(name, (each for each in held if isinstance(each, Tensor)))
        tellers: list[Callable[[], Form]] = [partial(form, holder, attributes)]
        tellers += [partial(state_of, each) for each in held if isinstance(each, nn.Module)]
        self._forms.setdefault(name, []).extend((tell, tell()) for tell in tellers)

    def broken(self) -> list[str]:
        """Return the names under which anything has changed."""
        return [name for name in dict.fromkeys((*self._kept, *self._forms)) if self._is_broken(name)]

    def _is_broken(self, name: str) -> bool:
        written = any(digest(tensor) != before for tensor, before in self._kept.get(name, ()))
        return written or any(tell() != before for tell, before in self._forms.get(name, ()))


def digest(tensor: Tensor) -> Digest:
    """Return a tensor's version with a checksum of its bits, since writing through ``.data`` or NumPy changes no version."""
    version = -1 if tensor.is_inference() else tensor._version
    return version, _checksum(tensor.detach())


def numbers(tensors: Iterable[Tensor]) -> Numbers:
    """Return the checksums of tensors, whatever has been written into them before."""
    return tuple(_checksum(tensor.detach()) for tensor in tensors)


def _checksum(values: Tensor) -> int | None:
    """Return a checksum of the bits and their order, None for a kind of tensor that has no bits to look at."""
    if values.is_meta:
        return None
    try:
        bits: Any = values.contiguous().reshape(-1).view(torch.uint8)
        return zlib.crc32(bits.numpy()) if bits.device.type == "cpu" else weighted_sum(bits)
    except (RuntimeError, NotImplementedError, TypeError):
        return None


def weighted_sum(bits: Tensor) -> int:
    """Return a sum of bytes [n], modulo 2^64, in which every position has a weight of its own, computed where they are."""
    total = torch.zeros((), dtype=torch.int64, device=bits.device)
    for start in range(0, len(bits), CHUNK):
        part = bits[start : start + CHUNK]
        weights = torch.arange(1, 2 * len(part), 2, device=bits.device)
        total = 1_000_003 * total + (part * weights).sum()
    return int(total)


def form(thing: object, attributes: Collection[str]) -> Form:
    """Return what some attributes of a thing are, in words; of its methods, which functions they are."""
    found = ((name, getattr(thing, name, None)) for name in attributes)
    return tuple((name, repr(getattr(value, "__func__", value))) for name, value in found)


def state_of(network: nn.Module) -> Form:
    """Return of a network whether it is being trained, how many hooks it has, and which weights."""
    hooks = len(network._forward_hooks), len(network._forward_pre_hooks)
    return (network.training, hooks, tuple(map(id, network._parameters.values())))


def tensors_of(thing: object) -> Iterator[Tensor]:
    """Yield the tensors that an object holds, in its attributes, lists and dictionaries and in those of what it holds."""
    return (found for found in things_in(thing) if isinstance(found, Tensor))


def things_in(thing: object) -> Iterator[object]:
    """Yield an object and what it holds in attributes, lists and dictionaries, and what that holds; no texts or numbers."""
    waiting: list[object] = [thing]
    seen: dict[int, object] = {}
    while waiting and len(seen) < VISITED:
        found = waiting.pop()
        if id(found) in seen or isinstance(found, str | bytes | int | float | type | ModuleType | None):
            continue
        seen[id(found)] = found
        yield found
        if not isinstance(found, Tensor):
            waiting.extend(_inside(found))


def _inside(thing: Any) -> Iterable[object]:
    if isinstance(thing, Mapping):
        return list(thing.values())
    if isinstance(thing, list | tuple | set | frozenset):
        return list(thing)
    return list(vars(thing).values()) if hasattr(thing, "__dict__") else ()
