"""The data of the fashion models: Fashion-MNIST, 28x28 grey pictures of ten kinds of clothes (Xiao et al. 2017)."""

from __future__ import annotations

import gzip
import math
import struct
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from bnsbench.errors import CorruptFileError, UsageError

CLASSES = 10
SHAPE = (1, 28, 28)
KINDS = ("T-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
FOLDER = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's package dataset-fashion-mnist puts the files."""
PACKAGE = "dataset-fashion-mnist"
TRAINING, TEST = "train", "t10k"
"""The names of the two parts, of 60,000 and of 10,000 pictures."""

_BYTES = 0x08
"""The code of unsigned bytes in a file's head."""


class Fashion(NamedTuple):
    """Levels [n, 1, 28, 28] of 0 to 255, uint8, and their int64 labels [n]."""

    levels: Tensor
    labels: Tensor


def load_fashion(part: str, folder: Path = FOLDER) -> Fashion:
    """Return a part of Fashion-MNIST, "train" or "t10k", from a folder of its files.

    Raises:
        UsageError: If a file is missing.
        CorruptFileError: If a file is not what it should be.
    """
    levels = read_idx(folder / f"{part}-images-idx3-ubyte.gz")
    labels = read_idx(folder / f"{part}-labels-idx1-ubyte.gz")
    if levels.shape != (len(labels), *SHAPE[1:]) or int(labels.max()) >= CLASSES:
        raise CorruptFileError(f"The files {part}-* in {folder} do not hold Fashion-MNIST: get them again.")
    return Fashion(levels[:, None], labels.to(torch.int64))


def read_idx(file: Path) -> Tensor:
    """Return the uint8 array of a gzipped IDX file, the format of MNIST (LeCun et al. 1998).

    Raises:
        UsageError: If the file is missing.
        CorruptFileError: If it is damaged or holds something else.
    """
    if not file.is_file():
        raise UsageError(
            f"There is no file {file}: install Debian's package {PACKAGE}, or name the folder of the files with --data."
        )
    try:
        content = gzip.decompress(file.read_bytes())
        zeros, kind, dimensions = struct.unpack_from(">HBB", content)
        shape = struct.unpack_from(f">{dimensions}I", content, 4)
    except (OSError, EOFError, struct.error) as error:
        raise CorruptFileError(f"The file {file} is damaged: get it again.") from error
    begin = 4 + 4 * dimensions
    if zeros or kind != _BYTES or len(content) - begin != math.prod(shape):
        raise CorruptFileError(f"The file {file} holds no array of bytes in the IDX format: get it again.")
    return torch.frombuffer(bytearray(content), dtype=torch.uint8, offset=begin).reshape(shape)


def pictures(levels: Tensor) -> Tensor:
    """Return levels of 0 to 255 as float32 pictures in [-1, 1]."""
    return levels.to(torch.float32) / 127.5 - 1.0
