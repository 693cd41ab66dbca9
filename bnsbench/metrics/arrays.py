"""Arrays in .npz archives, whose sizes are looked at before any memory is taken for them; nothing is unpickled."""

from __future__ import annotations

import math
import zipfile
from typing import IO, NamedTuple

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

_DEFLATE = 1032
"""How many bytes one compressed byte can stand for at most (the limit of deflate)."""


class Header(NamedTuple):
    """What the begin of a .npy stream says of its array."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[np.generic]


def open_array(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    """Return the stream of an array in an archive; ValueError if it says to be longer than it can be."""
    entry = archive.getinfo(f"{name}.npy")
    if entry.file_size > _DEFLATE * entry.compress_size + _DEFLATE:
        raise ValueError(f"{name} says to have {entry.file_size} bytes in {entry.compress_size} compressed ones")
    return archive.open(entry)


def read_header(stream: IO[bytes]) -> Header:
    """Return what the begin of a .npy stream says, and leave the stream where its values begin."""
    read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[npy.read_magic(stream)]
    header = Header(*read(stream))
    if min(header.shape, default=0) < 0:
        raise ValueError(f"an array is of shape {list(header.shape)}")
    return header


def read_numbers(stream: IO[bytes], header: Header) -> NDArray[np.float64]:
    """Return the numbers of a .npy stream behind its header."""
    if header.dtype.kind not in "fiu":
        raise ValueError(f"they are stored as {header.dtype}, and not as numbers")
    content = read_whole(stream, math.prod(header.shape) * header.dtype.itemsize)
    found = np.frombuffer(content, dtype=header.dtype).reshape(header.shape, order="F" if header.fortran else "C")
    return found.astype(np.float64)


def read_whole(stream: IO[bytes], count: int) -> bytes:
    """Return so many bytes of a stream; EOFError if there are fewer."""
    content = stream.read(count)
    if len(content) < count:
        raise EOFError("the file ends before its last value")
    return content
