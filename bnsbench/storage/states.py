"""Files of states, such as those of trainings: data and tensors with a hash; damaged or foreign ones count as absent."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import torch

from bnsbench.storage.files import replacing

_BEGINNING = b"bnsbench state 1\n"
_DIGEST = 32


def write_state(file: Path, state: dict[str, Any], flush: bool = True) -> None:
    """Write a state of tensors, numbers, texts, lists and dictionaries for this place; OSError where the disk refuses.

    flush: as of `replacing`.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getvalue()
    with replacing(file, flush) as temporary, temporary.open("wb") as stream:
        stream.write(_BEGINNING + _digest(file, content))
        stream.write(content)


def read_state(file: Path) -> dict[str, Any] | None:
    """Return the state that `write_state` has written under this name; None if it is absent, damaged or another file's."""
    try:
        found = file.read_bytes() if file.is_file() else b""
    except OSError:
        return None
    begin = len(_BEGINNING) + _DIGEST
    if found[:begin] != _BEGINNING + _digest(file, content := found[begin:]):
        return None  # before anything is made of it, for what torch makes of other bytes may take any memory
    try:
        state = torch.load(io.BytesIO(content), weights_only=True)
    except Exception:  # noqa: BLE001 (another torch may have written it, and this one may say so in any way)
        return None
    return state if isinstance(state, dict) else None


def _digest(file: Path, content: bytes) -> bytes:
    return hashlib.sha256(file.name.encode() + b"\0" + content).digest()
