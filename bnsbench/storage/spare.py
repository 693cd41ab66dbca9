"""A tensor in reserve, from which intact copies are made: in memory, or a large one in a file without a name."""

from __future__ import annotations

import tempfile
import weakref
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import Tensor

from bnsbench.storage.files import cache_errors
from bnsbench.storage.rows import HELD_NUMBERS


class Spare:
    """A tensor in reserve.

    Of a large one, of more than `HELD_NUMBERS`, the first copy is the tensor itself; before, a file is written from which
    another one can be read, and which goes with the process, however that ends.

    Args:
        values: The tensor [n, ...], to be written into by nobody but through copies.
        folder: For the file, made if it is needed.
    """

    def __init__(self, values: Tensor, folder: Path) -> None:
        self._values: Tensor | None = values
        self._shape, self._dtype, self._device = values.shape, values.dtype, values.device
        self._folder, self._file = folder, None if values.numel() <= HELD_NUMBERS else _written(values, folder)
        if self._file is not None:
            weakref.finalize(self, self._file.close)

    def copy(self) -> Tensor:
        """Return an intact copy; StorageError where its file cannot be read."""
        values = self._values
        if self._file is None and values is not None:
            return values.clone()
        self._values = None
        return self._read() if values is None else values

    def _read(self) -> Tensor:
        if self._file is None:
            raise ValueError("a spare has neither values nor a file")
        with cache_errors(self._folder):
            self._file.seek(0)
            found = np.fromfile(self._file, dtype=np.uint8)
        return torch.from_numpy(found).view(self._dtype).reshape(self._shape).to(self._device)


def _written(values: Tensor, folder: Path) -> IO[bytes]:
    """Return a file with the bytes of a tensor."""
    with cache_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (it is read later)
        values.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tofile(file)
    return file
