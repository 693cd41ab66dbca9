"""Long rows of numbers, of which there are too many for the memory: they wait in a temporary file and are read when used."""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any, overload

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST = 2**22
"""Numbers that stay in memory, where a list of them takes 32 bytes each."""


class Shelf:
    """Keeps rows of numbers: in memory until there are ``most`` numbers, then in a file that nobody else sees.

    The file goes with the last row that lies in it.
    """

    def __init__(self, most: int = MOST) -> None:
        """most: numbers that stay in memory."""
        self._left = most
        self._file: IO[bytes] | None = None
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
                self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 (closed with its last row)
            self._file.seek(self._end)
            if self._file.write(content) == len(content) * content.itemsize:
                row = Shelved(self._file, self._end, len(values))
                self._end += len(content) * content.itemsize
                return row
        return values


class Shelved(Sequence[float]):
    """A row of a shelf, which behaves as a tuple of floats; numpy.asarray reads it at once."""

    __slots__ = ("_count", "_file", "_place")

    def __init__(self, file: IO[bytes], place: int, count: int) -> None:
        """Say where in the file it lies, and how many numbers it has."""
        self._file, self._place, self._count = file, place, count

    def _read(self) -> array[float]:
        self._file.seek(self._place)
        found = array("d", self._file.read(8 * self._count))
        if len(found) != self._count:
            raise OSError(f"a temporary file in {tempfile.gettempdir()} has been cut off")
        return found

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
