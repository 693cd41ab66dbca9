"""The text of a record as `bnsbench.suite.record.format_record` writes it: one line per entry, in its shortest form.

The checksum of such a text is that of its lines in the order of their keys, so that nothing has to be written again to
compare it; and values by sample, which are most of it, are read by themselves, or not at all.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from bnsbench.errors import CorruptFileError
from bnsbench.storage.strict_json import parse_json

Number = Annotated[float, Field(allow_inf_nan=False)]

VALUES: Mapping[str, TypeAdapter[Any]] = {
    "per_sample": TypeAdapter(dict[str, list[Number]], config={"strict": True}),
    "replicates": TypeAdapter(dict[str, list[Number | None]], config={"strict": True}),
}
"""The entries that hold a number for every sample or resample, with their shapes."""

_COMMON = ("truth", "model", "environment")
"""Entries that many records share: with a copy for each, 100,000 records would take a gigabyte."""

_BEGINNING, _BETWEEN, _END = b"{\n", b",\n", b"\n}\n"


def as_written(text: bytes, values: bool = True) -> dict[str, Any] | None:
    """Return the content of a record without its checksum, if the text is as it was written; else None, whatever it is.

    Of the content only the entries in VALUES are known to have the shape of a record's.

    Args:
        text: Of the file.
        values: Whether to read the entries in VALUES, which the checksum covers in any case; if not, they are left out.
    """
    entries = _entries(text)
    said = entries.pop(b"checksum", None)
    compact = b"{" + b",".join(b'"%b":%b' % entry for entry in sorted(entries.items())) + b"}"
    if said is None or said != b'"%b"' % hashlib.sha256(compact).hexdigest().encode():
        return None
    found = {name: entries.pop(name.encode(), b"{}") for name in VALUES}
    common = {name: entries.pop(name.encode()) for name in _COMMON if name.encode() in entries}
    try:
        content = parse_json(b"{" + b",".join(b'"%b":%b' % entry for entry in entries.items()) + b"}")
        # A line that holds more than one entry is none that we write.
        if len(content) != len(entries):
            return None
        content |= {name: _common(value) for name, value in common.items()}
        if values:
            content |= {name: VALUES[name].validate_json(value) for name, value in found.items()}
    except (CorruptFileError, ValidationError):
        return None
    if isinstance(content.get("cell"), dict):
        content["cell"] = {sys.intern(name): _shared(part) for name, part in content["cell"].items()}
    return dict(content)


def _shared(part: Any) -> Any:
    """Return one and the same object for the same component of a cell."""
    return _common(json.dumps(part).encode()) if isinstance(part, dict) else part


@lru_cache(maxsize=4096)
def _common(value: bytes) -> Any:
    """Return what JSON text stands for: one object for all records that have it, which nobody changes."""
    return parse_json(value)


def _entries(text: bytes) -> dict[bytes, bytes]:
    """Return the values of the lines by their keys; none if these are not the lines of one object."""
    if not (text.startswith(_BEGINNING) and text.endswith(_END)):
        return {}
    found: dict[bytes, bytes] = {}
    lines = text[len(_BEGINNING) : -len(_END)].split(_BETWEEN)
    for line in lines:
        key, _, value = line.partition(b'": ')
        found[key[1:]] = value
    return found if len(found) == len(lines) and all(line.startswith(b'"') for line in lines) else {}
