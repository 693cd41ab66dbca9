"""Precisions: that of a name, and that of times, float64 except on devices that have none, such as Apple's GPUs (MPS)."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from bnsbench.errors import UsageError


def dtype_named(name: str | torch.dtype | None, own: torch.dtype) -> torch.dtype:
    """Return the precision of a name, such as "bfloat16"; a model's own where no name is given.

    Raises:
        UsageError: If no floating-point type has that name.
    """
    if not name:
        return own
    found = getattr(torch, name, None) if isinstance(name, str) else name
    if not (isinstance(found, torch.dtype) and found.is_floating_point):
        raise UsageError(f"There is no precision {name!r}; choose float64, float32, bfloat16 or float16.")
    return found


@cache
def has_float64(device: torch.device) -> bool:
    """Return whether the device can hold float64 tensors, by making one."""
    try:
        torch.empty((), dtype=torch.float64, device=device)
    except TypeError:  # torch says in this way that MPS does not have it
        return False
    return True


def time_dtype(device: torch.device) -> torch.dtype:
    """Return the precision in which times are kept on a device: float64 if it has that, else float32."""
    return torch.float64 if has_float64(device) else torch.float32


def times_on(times: Tensor, device: torch.device) -> Tensor:
    """Return float64 times of the CPU on a device, in the precision that it has for them."""
    return times.to(time_dtype(device)).to(device)
