"""JSON as we write it, read with bounds: whatever the bytes are, the end is a value or one sentence, in little memory."""

from __future__ import annotations

import json
import math
import os
import re
from pathlib import Path
from typing import Any, NoReturn

from bnsbench.errors import CorruptFileError

LARGEST = 2**26
"""Bytes of the largest file: a hundred times the record of 50,000 samples under one metric."""

DEEPEST = 40
"""Lists and objects within each other; ours have fewer than ten."""

MOST_ENTRIES = 200_000
"""Lists, objects and their keys together, each of which takes far more memory than its text."""

WHOLE_LIMIT = 2**64
"""Whole numbers are smaller than this, whatever their sign: what computes with them takes no larger ones."""

_LARGE = re.compile(rb"[\[:,\s]-?(?:[0-9]{20}|[0-9.]++[eE]\+?[0-9]{3})")
"""What any number within an object or list has that is not finite or not smaller than WHOLE_LIMIT; few others do."""

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def read_json(file: Path, largest: int = LARGEST) -> Any:
    """Return the value in a JSON file.

    Args:
        file: A file; anything else in its place, such as a folder, is told as damage.
        largest: Bytes that it may have.

    Raises:
        CorruptFileError: With the reason alone, as the end of a sentence on the file; see `parse_json`.
    """
    return parse_json(read_bounded(file, largest), largest)


def read_bounded(file: Path, largest: int = LARGEST) -> bytes:
    """Return the bytes of a file, one more than ``largest`` at most; CorruptFileError, as of `read_json`, if it is none."""
    try:
        if not file.is_file():
            raise CorruptFileError("it is no file")
        content = first_bytes(file, largest)
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise CorruptFileError(f"it cannot be read ({getattr(error, 'strerror', None) or error})") from error
    return content


def first_bytes(file: Path, largest: int = LARGEST) -> bytes:
    """Return the bytes of a file, one more than ``largest`` at most; OSError if it cannot be opened."""
    with file.open("rb") as stream:
        # No more is asked for than there is, since memory is taken for what is asked for.
        return stream.read(min(os.fstat(stream.fileno()).st_size, largest) + 1)


def parse_json(content: bytes, largest: int = LARGEST) -> Any:
    """Return the value that JSON text in UTF-8 stands for.

    Args:
        content: The text.
        largest: Bytes that it may have.

    Raises:
        CorruptFileError: With the reason alone, if it is no JSON, or none that we write: numbers that are not finite or
            too large, more than DEEPEST levels, halves of characters.
    """
    if len(content) > largest:
        raise CorruptFileError(f"it has more than {largest:,} bytes")
    if sum(map(content.count, (b"[", b"{", b":"))) > MOST_ENTRIES:
        raise CorruptFileError(f"it has more than {MOST_ENTRIES:,} entries")
    try:
        looked_at: dict[str, Any] = {"parse_float": _finite, "parse_int": _whole} if _may_be_large(content) else {}
        value = json.loads(content.decode("utf-8"), parse_constant=_refuse, **looked_at)
        if _SURROGATE.search(content):
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeDecodeError as error:
        raise CorruptFileError("it is not UTF-8") from error
    except UnicodeEncodeError as error:
        raise CorruptFileError("it holds half a character") from error
    except RecursionError as error:
        raise CorruptFileError(f"it is nested more than {DEEPEST} levels deep") from error
    except ValueError as error:
        raise CorruptFileError(f"it is not JSON ({error})") from error
    if content.count(b"[") + content.count(b"{") > DEEPEST:
        _check_depth(value)
    return value


def _may_be_large(content: bytes) -> bool:
    """Whether some number of JSON text may not be finite, or not be smaller than WHOLE_LIMIT."""
    return content[:1] not in (b"{", b"[") or _LARGE.search(content) is not None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number is too large")
    return number


def _whole(text: str) -> int:
    number = int(text) if len(text) <= 30 else WHOLE_LIMIT
    if abs(number) >= WHOLE_LIMIT:
        raise ValueError("a number is too large")
    return number


def _check_depth(value: Any) -> None:
    level, depth = [value] if isinstance(value, list | dict) else [], 0
    while level:
        depth += 1
        if depth > DEEPEST:
            raise CorruptFileError(f"it is nested more than {DEEPEST} levels deep")
        insides = [held.values() if isinstance(held, dict) else held for held in level]
        # Most hold numbers only, of which there may be many.
        level = [item for held in insides if _NESTED & set(map(type, held)) for item in held if type(item) in _NESTED]


_NESTED = {list, dict}
