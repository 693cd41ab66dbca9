"""Named noise streams: each sample's noise depends on its name alone, never on batch size, device or order."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from bnsbench.errors import UsageError

Split = Literal["train", "validation", "test"]
"""Splits have separate streams, so training, selection and measurement never share noise."""


def stream_seed(*names: object) -> int:
    """Return a 63-bit seed from the hash of the names' text."""
    # The separator keeps ("a", "bc") and ("ab", "c") apart.
    text = "\x1f".join(str(name) for name in names)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def noise(seed: int, model: str, split: Split, indices: Sequence[int] | Tensor, shape: Sequence[int]) -> Tensor:
    """Return standard normal noise [len(indices), *shape] in float64 on the CPU.

    Row k is a function of (seed, model, split, indices[k], shape) alone.

    Args:
        seed: The suite's.
        model: The model's name.
        split: "train", "validation" or "test".
        indices: Numbers of the samples within the split.
        shape: Of one sample.

    Raises:
        UsageError: If there is no such split.
    """
    if split not in get_args(Split):
        raise UsageError(f"There is no split {split!r}; splits are {', '.join(get_args(Split))}.")
    numbers = [int(index) for index in indices]
    rows = torch.empty(len(numbers), *shape, dtype=torch.float64)
    generator = torch.Generator(device="cpu")
    for row, index in zip(rows, numbers, strict=True):
        generator.manual_seed(stream_seed(seed, model, split, index))
        row.normal_(generator=generator)
    return rows
