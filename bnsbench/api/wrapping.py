"""Any network as a model: `wrap` tells bnsbench how to call it, on which path it was trained, and what samples look like."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor, nn

from bnsbench.errors import UsageError
from bnsbench.flows.model import Model
from bnsbench.flows.paths import Path, make_path

Velocity = Callable[..., Tensor]
"""From t [batch], x [batch, *shape] and the condition [batch, ...], if there is any, to u [batch, *shape]."""


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
            by its weights what is kept about it.
        fingerprint: Names everything that decides what ``velocity`` returns, in place of the network's weights. Without
            either, nothing that is computed outlives the process.
        name: Of its noise streams and in files; the class of the network if empty.

    Returns:
        The model.

    Raises:
        UsageError: For an unknown path, or a network in training mode.
    """
    module = velocity if isinstance(velocity, nn.Module) else network
    if module is not None and module.training:
        raise UsageError("The network is in training mode, in which it may drop out or learn: call its eval() first.")
    place = make_path(path) if isinstance(path, str) else path
    title = name or (type(velocity if module is None else module).__name__.lower())
    return WrappedModel(
        velocity, module, place, shape, interval, conditions, null_condition, decode, data_range, fingerprint, title
    )


class WrappedModel(Model):
    """What `wrap` returns: a velocity network with what is known about it.

    passing: whether the next process could not know that this is the same network, so that nothing about it is kept.
    """

    prediction = "velocity"

    def __init__(
        self,
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
        self.path, self.shape, self.interval, self.data_range = path, tuple(shape), interval, data_range
        self._conditions, self._null, self._decode = conditions, null_condition, decode
        self._given = fingerprint
        self._unknown = secrets.token_hex(16)
        self._hashed: tuple[object, str] = (None, "")
        first = None if module is None else next(module.parameters(), None)
        self.dtype = torch.float32 if first is None else first.dtype
        self.device = "cpu" if first is None else str(first.device)

    @property
    def passing(self) -> bool:
        return self._given is None and self.module is None

    def predict(self, t: Tensor, x: Tensor, condition: Tensor | None) -> Tensor:
        """Return the velocity; UsageError if the network returns something of another shape."""
        time = t.to(x).expand(len(x))
        found = self.velocity(time, x) if condition is None else self.velocity(time, x, condition)
        if not isinstance(found, Tensor) or found.shape != x.shape:
            shown = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise UsageError(
                f"The network {self.name} returned {shown} for states {list(x.shape)}: velocity(t, x) takes the times"
                " first and returns a velocity for every state."
            )
        return found

    def fingerprint(self) -> str:
        """Return a hash of the network's weights, or of the fingerprint given, with path, interval and shape."""
        digest = hashlib.sha256(repr((self.path.to_dict(), self.interval, self.shape)).encode())
        if self._given is not None:
            digest.update(self._given.encode())
        elif self.module is None:
            digest.update(self._unknown.encode())
        else:
            digest.update(self._weights(self.module).encode())
        return digest.hexdigest()

    def _weights(self, module: nn.Module) -> str:
        """Return a hash of the module's class, structure and tensors, made anew whenever a tensor has been written into."""
        tensors = sorted(module.state_dict().items())
        state = [(key, value.data_ptr(), value._version) for key, value in tensors]
        if self._hashed[0] != state:
            digest = hashlib.sha256(f"{type(module).__module__}.{type(module).__qualname__}\n{module}".encode())
            for key, value in tensors:
                digest.update(key.encode())
                digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
            self._hashed = (state, digest.hexdigest())
        return self._hashed[1]

    def conditions(self, indices: Tensor) -> Tensor | None:
        if self._conditions is None or isinstance(self._conditions, Tensor):
            return None if self._conditions is None else self._conditions[indices % len(self._conditions)]
        return self._conditions(indices)

    def null_condition(self, condition: Tensor) -> Tensor:
        if self._null is None:
            return super().null_condition(condition)
        if isinstance(self._null, Tensor):
            return self._null.to(condition).expand_as(condition)
        return self._null(condition)

    def decode(self, x: Tensor) -> Tensor:
        return x if self._decode is None else self._decode(x)

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Self:
        if self.module is not None:
            self.module.to(device=device, dtype=dtype)
        self.device = str(device)
        return super().to(device, dtype)
