"""Plain data: what JSON can hold."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

from bnsbench.storage.shelf import Shelved
from bnsbench.storage.strict_json import WHOLE_LIMIT

KEY_DIGITS = 12


def as_plain_data(value: Any) -> Any:
    """Return the value as JSON-like data.

    Numbers that are not finite, or too large for `bnsbench.storage.strict_json`, become None; halves of characters, as in
    names of files that are not UTF-8, are spelt out.
    """
    if isinstance(value, Mapping):
        return {as_plain_data(str(key)): as_plain_data(item) for key, item in value.items()}
    if isinstance(value, list | tuple | Shelved):
        return [as_plain_data(item) for item in value]
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if value is None or isinstance(value, int | float):
        return value if value is None else _plain_number(value)
    # Numbers of numpy and torch know their plain value.
    return as_plain_data(value.item()) if hasattr(value, "item") else str(value)


def _plain_number(value: float) -> float | None:
    if isinstance(value, int):
        return value if abs(value) < WHOLE_LIMIT else None
    return float(value) if math.isfinite(value) else None


def digest(content: Mapping[str, Any]) -> str:
    """Return a short hash of plain data that ignores the order of its keys."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:KEY_DIGITS]
