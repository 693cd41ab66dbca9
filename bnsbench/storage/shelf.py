"""Long rows of numbers, of which there are too many for the memory: they wait in a temporary file and are read when used."""

from __future__ import annotations

import tempfile
import weakref
from array import array
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any, overload

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST = 2**22
"""Numbers that stay in memory, where a list of them takes 32 bytes each."""


class _File:
    """A temporary file, which is closed and gone when nothing refers to it any more."""

    def __init__(self) -> None:
        self._stream: IO[bytes] = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 (closed by the next line)
        weakref.finalize(self, self._stream.close)

    def write(self, place: int, content: array[float]) -> bool:
        """Write numbers from a place on, in bytes, and return whether all were written."""
        self._stream.seek(place)
        return self._stream.write(content) == len(content) * content.itemsize

    def read(self, place: int, count: int) -> array[float]:
        """Return as many numbers from a place on; OSError if they are not there any more."""
        self._stream.seek(place)
        found = array("d", self._stream.read(count * array("d").itemsize))
        if len(found) != count:
            raise OSError(f"a temporary file in {tempfile.gettempdir()} has been cut off")
        return found


class Shelf:
    """Keeps rows of numbers: in memory until there are ``most`` numbers, then in a file that nobody else sees.

    The file goes with the last row that lies in it.
    """

    def __init__(self, most: int = MOST) -> None:
        """most: numbers that stay in memory."""
        self._left = most
        self._file: _File | None = None
        self._end = 0

    def keep(self, values: Sequence[float]) -> Sequence[float]:
        """Return the values, or a row in the file with the same numbers.

        Rows that hold anything but numbers stay in memory, and so does everything where the file cannot be written.
        """
        if len(values) <= self._left:
            self._left -= len(values)
            return values
        with suppress(TypeError, OverflowError, OSError):
            content = array("d", values)
            if self._file is None:
                self._file = _File()
            if self._file.write(self._end, content):
                row = Shelved(self._file, self._end, len(values))
                self._end += len(content) * content.itemsize
                return row
        return values


class Shelved(Sequence[float]):
    """A row of a shelf, which behaves as a tuple of floats; numpy.asarray reads it at once."""

    __slots__ = ("_count", "_file", "_place")

    def __init__(self, file: _File, place: int, count: int) -> None:
        """Say where in the file it lies, and how many numbers it has."""
        self._file, self._place, self._count = file, place, count

    def _read(self) -> array[float]:
        return self._file.read(self._place, self._count)

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> float: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[float]: ...
    def __getitem__(self, index: int | slice) -> float | Sequence[float]:
        return self._read()[index]

    def __iter__(self) -> Iterator[float]:
        return iter(self._read())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        import numpy as np  # noqa: PLC0415 (most users of storage need none)

        return np.frombuffer(self._read(), dtype=np.float64).astype(dtype or np.float64, copy=False)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __deepcopy__(self, memo: object) -> Shelved:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return tuple, (tuple(self),)

    def __repr__(self) -> str:
        return repr(tuple(self))
