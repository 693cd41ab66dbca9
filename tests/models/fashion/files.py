"""A small folder of files as Fashion-MNIST has them, for tests."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import torch

from bnsbench.models.fashion.data import TEST, TRAINING, Fashion


def idx(array: torch.Tensor) -> bytes:
    """Return a uint8 array in the IDX format."""
    head = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    return head + bytes(array.flatten().tolist())


def write_part(folder: Path, part: str, count: int) -> Fashion:
    """Write a part of ``count`` random pictures, whose classes take turns backwards, and return it."""
    generator = torch.Generator().manual_seed(count)
    levels = torch.randint(0, 256, (count, 28, 28), dtype=torch.uint8, generator=generator)
    labels = (9 - torch.arange(count) % 10).to(torch.uint8)
    (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(levels), compresslevel=1))
    (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels)))
    return Fashion(levels[:, None], labels.long())


def write_data(folder: Path, count: int = 40) -> None:
    """Write both parts."""
    for part in (TRAINING, TEST):
        write_part(folder, part, count)
