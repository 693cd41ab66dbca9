"""What a function computes with: its code, and the modules, tensors and numbers that it has captured or knows by name."""

from __future__ import annotations

import dis
import functools
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_PLAIN = (int, float, complex, str, bytes, bool, type(None), torch.dtype, torch.device, torch.Size)


class Captured:
    """Everything that decides what a callable returns, as far as it can be found.

    Args:
        function: A function, a lambda, a method, a `functools.partial` or a module.

    Attributes:
        modules: The networks that it calls, in the order in which they are met.
        unknown: What it computes with and is not looked into, such as an object of some class; "" if there is nothing.
    """

    def __init__(self, function: object) -> None:
        self.modules: list[nn.Module] = []
        self.unknown = ""
        self._facts: list[bytes] = []
        self._tensors: list[Tensor] = []
        self._seen: set[int] = set()
        self._kept: list[object] = []  # so that no other object gets the identity of one that was seen
        self._walks: tuple[tuple[Any, Callable[[Any], None]], ...] = (
            (nn.Module, self.modules.append),
            (Tensor, self._tensors.append),
            (
                np.ndarray | np.generic,
                lambda array: self._facts.append(repr((array.dtype, array.shape)).encode() + array.tobytes()),
            ),
            (FunctionType, self._walk_function),
            (MethodType, lambda method: self._walk_all((method.__func__, method.__self__))),
            (functools.partial, lambda part: self._walk_all((part.func, part.args, part.keywords))),
            (Mapping, lambda mapping: self._walk_all(mapping.items())),
            (Sequence, self._walk_all),
            (set | frozenset, lambda found: self._walk_all(sorted(found, key=repr))),
            (ModuleType | BuiltinFunctionType | type, self._name),
        )
        self._walk(function)

    def digest(self) -> bytes:
        """Return a hash of code, numbers and tensors as they are now; the modules' weights are left out."""
        found = hashlib.sha256(b"\x1f".join(self._facts))
        for tensor in self._tensors:
            found.update(bytes_of(tensor))
        return found.digest()

    def _walk(self, thing: Any) -> None:
        if isinstance(thing, _PLAIN):
            self._facts.append(repr(thing).encode())
            return
        if id(thing) in self._seen:
            return
        self._seen.add(id(thing))
        self._kept.append(thing)
        for kind, walk in self._walks:
            if isinstance(thing, kind):
                walk(thing)
                return
        self.unknown = self.unknown or f"an object of {type(thing).__name__}"

    def _name(self, thing: Any) -> None:
        """Note a class, a module or a function of another language by its name."""
        self._facts.append(f"{type(thing).__name__} {getattr(thing, '__module__', '')} {thing.__name__}".encode())

    def _walk_all(self, things: Iterable[Any]) -> None:
        for each in things:
            self._walk(each)

    def _walk_function(self, function: FunctionType) -> None:
        if function.__module__.partition(".")[0] in ("torch", "numpy", "bnsbench"):  # the same in every version of it
            self._facts.append(f"{function.__module__} {function.__qualname__}".encode())
            return
        self._walk_code(function.__code__, function.__globals__)
        self._walk_all(function.__defaults__ or ())
        self._walk_all((function.__kwdefaults__ or {}).items())
        for cell in function.__closure__ or ():
            try:
                self._walk(cell.cell_contents)
            except ValueError:  # it has not been filled yet
                self.unknown = self.unknown or "a name without a value"

    def _walk_code(self, code: CodeType, known: Mapping[str, Any]) -> None:
        """Note what code does, and what of its module it uses."""
        plain = [constant for constant in code.co_consts if not isinstance(constant, CodeType)]
        self._facts.append(code.co_code + repr((plain, code.co_names, code.co_varnames)).encode())
        used = {each.argval for each in dis.get_instructions(code) if each.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
        self._walk_all(known[name] for name in sorted(used) if name in known)
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                self._walk_code(constant, known)


def bytes_of(tensor: Tensor) -> bytes:
    """Return a tensor's type, shape and numbers; of one that is made of others, as torchao's are, those of its parts."""
    if hasattr(tensor, "__tensor_flatten__"):
        parts, facts = tensor.__tensor_flatten__()
        told = f"{type(tensor).__qualname__} {facts} ".encode()
        return told + b"".join(name.encode() + bytes_of(getattr(tensor, name)) for name in parts)
    data = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    return f"{tensor.dtype} {list(tensor.shape)} ".encode() + data.numpy().tobytes()
