"""Files of tensors with a hash of their content; damaged ones count as absent."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, uint8

from bnsbench.storage.files import replacing


def write_tensors(file: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write contiguous tensors of the CPU with a hash of their content; OSError where the disk refuses."""
    with replacing(file) as temporary:
        save_file(dict(tensors), temporary, metadata={"sha256": _digest(tensors)})


def read_tensors(file: Path) -> dict[str, Tensor] | None:
    """Return the tensors in a file that `write_tensors` wrote, or None if it is absent or damaged."""
    try:
        with safe_open(file, framework="pt") as content:
            tensors = {key: content.get_tensor(key) for key in content.keys()}  # noqa: SIM118 (not a dict)
            expected = (content.metadata() or {}).get("sha256")
    except (OSError, SafetensorError):
        return None
    return tensors if expected == _digest(tensors) else None


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].contiguous().view(-1).view(uint8).numpy().data)
    return digest.hexdigest()
