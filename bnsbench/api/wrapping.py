"""Any network as a model: `wrap` tells bnsbench how to call it, on which path it was trained, and what samples look like."""

from __future__ import annotations

import copy
import hashlib
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from types import FunctionType
from typing import Self

import torch
from torch import Tensor, nn

from bnsbench.errors import NotApplicableError, UsageError
from bnsbench.flows.model import Model
from bnsbench.flows.paths import Path, make_path

Velocity = Callable[..., Tensor]
"""From t [batch], x [batch, *shape] and the condition [batch, ...], if there is any, to u [batch, *shape]."""

PROBED = 64
"""Conditions by which a function that gives conditions is recognised."""


def wrap(
    velocity: Velocity,
    *,
    shape: tuple[int, ...],
    path: str | Path = "condot",
    interval: tuple[float, float] = (0.0, 1.0),
    conditions: Tensor | Callable[[Tensor], Tensor] | None = None,
    null_condition: Tensor | Callable[[Tensor], Tensor] | None = None,
    decode: Callable[[Tensor], Tensor] | None = None,
    data_range: float = 2.0,
    network: nn.Module | None = None,
    fingerprint: str | None = None,
    name: str = "",
) -> Model:
    """Return a network of your own as a model that `train`, `tune`, `sample` and `compare` take.

    Time runs from noise at t = 0 to data at t = 1, and the network is called as ``velocity(t, x)``, with the condition as
    a third argument if there are conditions. Write a lambda for any other order.

    What is computed about a model (its ground truth above all) is kept under its fingerprint. By default that is a hash of
    the network's weights and plain attributes, the code of ``velocity`` where that is a function, path, interval, shape and
    conditions. What a function calls besides is not looked at: where that may change, give a ``fingerprint`` of your own.

    Args:
        velocity: Returns u_t(x) [batch, *shape] = dx/dt for t [batch] and x [batch, *shape], both in its own precision.
        shape: Of one sample, such as (3, 32, 32).
        path: On which it was trained: "condot" (x_t = (1 - t) x_0 + t x_1), "cosine", "vp", or one of `bnsbench.paths`.
        interval: The times (t_begin, t_end) on which it may be evaluated.
        conditions: Of the samples: a tensor [n, ...] of which sample i takes row i modulo n, or a function from sample
            numbers [count] to conditions [count, ...]; None for an unconditional network.
        null_condition: What stands for "no condition", which guidance needs: a tensor [...], or a function from conditions
            to as many null conditions.
        decode: From end states to what one looks at, such as images in [-1, 1]; None for the states themselves.
        data_range: Peak-to-peak range of the data, which PSNR is relative to.
        network: The module behind ``velocity`` where that is a function: it says where it lies, in which precision, and
            what its weights are.
        fingerprint: Names everything that decides what ``velocity`` returns, in place of weights and code. A function
            without network and fingerprint is another model at every call, about which nothing is kept.
        name: Of its noise streams and in files; the class of the network if empty.

    Returns:
        The model.

    Raises:
        UsageError: For an unknown path, a shape that is none, or a network in training mode.
    """
    module = velocity if isinstance(velocity, nn.Module) else network
    if module is not None and module.training:
        raise UsageError("The network is in training mode, in which it may drop out or learn: call its eval() first.")
    if not isinstance(shape, tuple | list | torch.Size) or not all(isinstance(size, int) and size > 0 for size in shape):
        raise UsageError(f"The shape of a sample is a tuple of whole numbers such as (3, 32, 32), not {shape!r}.")
    begin, end = interval
    return WrappedModel(
        velocity=velocity,
        module=module,
        path=make_path(path) if isinstance(path, str) else path,
        shape=tuple(shape),
        interval=(float(begin), float(end)),
        conditions=conditions,
        null_condition=null_condition,
        decode=decode,
        data_range=float(data_range),
        fingerprint=fingerprint,
        name=name or type(velocity if module is None else module).__name__.lower(),
    )


class WrappedModel(Model):
    """What `wrap` returns: a velocity network with what is known about it.

    device: where the network lies; "" if nothing says so.
    """

    prediction = "velocity"

    def __init__(
        self,
        *,
        velocity: Velocity,
        module: nn.Module | None,
        path: Path,
        shape: tuple[int, ...],
        interval: tuple[float, float],
        conditions: Tensor | Callable[[Tensor], Tensor] | None,
        null_condition: Tensor | Callable[[Tensor], Tensor] | None,
        decode: Callable[[Tensor], Tensor] | None,
        data_range: float,
        fingerprint: str | None,
        name: str,
    ) -> None:
        self.velocity, self.module, self.name = velocity, module, name
        self.path, self.shape, self.interval, self.data_range = path, shape, interval, data_range
        self._conditions, self._null, self._decode = conditions, null_condition, decode
        self._given, self._token = fingerprint, secrets.token_hex(16)
        self._hashed: tuple[object, str] = (None, "")
        self._thawing = ExitStack()
        first = None if module is None else next(module.parameters(), None)
        self.dtype = torch.float32 if first is None else first.dtype
        self.device = "" if first is None else str(first.device)

    @property
    def passing(self) -> bool:
        """Whether nothing says that the model is still the same at the next call, so that nothing about it is kept."""
        known = self.module is not None and (self.velocity is self.module or isinstance(self.velocity, FunctionType))
        return self._given is None and not known

    def predict(self, t: Tensor, x: Tensor, condition: Tensor | None) -> Tensor:
        """Return the velocity; UsageError if the network returns something of another shape."""
        time = t.to(x).expand(len(x))
        if condition is not None and condition.is_floating_point():
            condition = condition.to(x.dtype)
        with frozen(self.module) if torch.is_grad_enabled() else nullcontext():
            found = self.velocity(time, x) if condition is None else self.velocity(time, x, condition)
        if not isinstance(found, Tensor) or found.shape != x.shape:
            shown = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise UsageError(
                f"The network {self.name} returned {shown} for states {list(x.shape)}: velocity(t, x) takes the times"
                " first and returns a velocity for every state."
            )
        return found

    def fingerprint(self) -> str:
        """Return a hash of what decides the velocity of every sample: see `wrap`."""
        digest = hashlib.sha256(repr((self.path.to_dict(), self.interval, self.shape)).encode())
        if self._given is not None:
            digest.update(self._given.encode())
            return digest.hexdigest()
        digest.update((self._token if self.passing or self.module is None else self._weights(self.module)).encode())
        if isinstance(self.velocity, FunctionType):
            digest.update(_code_of(self.velocity))
        condition = None if self._conditions is None else self.conditions(torch.arange(PROBED))
        whole = self._conditions if isinstance(self._conditions, Tensor) else condition
        null = None if condition is None or self._null is None else self.null_condition(condition)
        for tensor in (whole, null):
            digest.update(b"none" if tensor is None else _bytes_of(tensor))
        return digest.hexdigest()

    def _weights(self, module: nn.Module) -> str:
        """Return a hash of the module's classes, plain attributes and tensors.

        It is made anew after `to`, which every call of bnsbench makes, and after tensors were written into.
        """
        tensors = sorted(module.state_dict().items())
        attributes = [(path, type(part).__qualname__, _plain_attributes(part)) for path, part in module.named_modules()]
        state = [attributes, [(key, value.data_ptr(), value._version) for key, value in tensors]]
        if self._hashed[0] != state:
            digest = hashlib.sha256(f"{type(module).__module__} {attributes}".encode())
            for key, value in tensors:
                digest.update(key.encode() + _bytes_of(value))
            self._hashed = (state, digest.hexdigest())
        return self._hashed[1]

    def conditions(self, indices: Tensor) -> Tensor | None:
        if self._conditions is None or isinstance(self._conditions, Tensor):
            return None if self._conditions is None else self._conditions[indices % len(self._conditions)]
        return self._conditions(indices)

    def null_condition(self, condition: Tensor) -> Tensor:
        if self._null is None:
            raise NotApplicableError(
                f"The network {self.name} has no unconditional prediction, so guidance needs w = 0: give wrap a"
                " null_condition."
            )
        if isinstance(self._null, Tensor):
            return self._null.to(condition).expand_as(condition)
        return self._null(condition)

    def decode(self, x: Tensor) -> Tensor:
        return x if self._decode is None else self._decode(x)

    def recompute(self, on: bool) -> bool:
        """Let the network checkpoint its blocks, where it can be told so as the networks of diffusers are."""
        if self.module is None or not getattr(self.module, "_supports_gradient_checkpointing", False):
            return False
        switch = "enable" if on else "disable"
        getattr(self.module, f"{switch}_gradient_checkpointing")()
        # Blocks are run again outside of `predict`, as they were run inside.
        self._thawing.close()
        if on:
            self._thawing.enter_context(frozen(self.module))
        return True

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Self:
        """Return the model on that device, its network moved; in another precision it is a copy, and the network stays.

        Raises:
            UsageError: For another precision of a velocity that is a function, whose network cannot be copied.
        """
        made = self
        if dtype != self.dtype and self.module is not None:
            if self.velocity is not self.module:
                raise UsageError(
                    f"The network {self.name} is called by a function, so it cannot be copied to {dtype}: convert it"
                    " yourself, and wrap it then."
                )
            made = copy.copy(self)
            made.module = made.velocity = copy.deepcopy(self.module).to(dtype=dtype)
        if made.module is not None:
            made.module.to(device=device)
        made.dtype, made.device = dtype, str(device)
        made._token, made._hashed = secrets.token_hex(16), (None, "")
        return made


@contextmanager
def frozen(module: nn.Module | None) -> Iterator[None]:
    """Let the parameters of a network want no gradients for a while: for these, layers would keep their inputs."""
    learning = [] if module is None else [part for part in module.parameters() if part.requires_grad]
    for part in learning:
        part.requires_grad_(False)
    try:
        yield
    finally:
        for part in learning:
            part.requires_grad_(True)


def _code_of(function: FunctionType) -> bytes:
    """Return what a function does: its code, and the plain values that it was made with."""
    code = function.__code__
    cells = [cell.cell_contents for cell in function.__closure__ or () if isinstance(cell.cell_contents, int | float | str)]
    constants = [constant for constant in code.co_consts if not hasattr(constant, "co_code")]
    return code.co_code + repr((constants, code.co_names, function.__defaults__, cells)).encode()


def _plain_attributes(module: nn.Module) -> list[tuple[str, str]]:
    """Return a module's attributes that are numbers, texts or tuples, by name."""
    own = vars(module).items()
    return sorted((key, repr(value)) for key, value in own if key[0] != "_" and isinstance(value, int | float | str | tuple))


def _bytes_of(tensor: Tensor) -> bytes:
    """Return a tensor's type, shape and numbers."""
    data = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    return f"{tensor.dtype} {list(tensor.shape)} ".encode() + data.numpy().tobytes()
