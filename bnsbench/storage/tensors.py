"""Files of tensors that say what they are for, with a hash of their content; damaged or swapped ones count as absent."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, uint8

from bnsbench.storage.files import replacing


def write_tensors(file: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write contiguous tensors of the CPU with a hash of their content and name; OSError where the disk refuses.

    The file's name has to say what it is for, as that of a cache does: under another name it is not believed.
    """
    with replacing(file) as temporary:
        try:
            save_file(dict(tensors), temporary, metadata={"for": file.name, "sha256": _digest(file, tensors)})
        except SafetensorError as error:  # of writing, since any tensors can be saved
            raise OSError(errno.EIO, str(error)) from error


def read_tensors(file: Path) -> dict[str, Tensor] | None:
    """Return the tensors that `write_tensors` wrote under this name; None if they are absent, damaged or another file's."""
    try:
        if not file.is_file():
            return None
        with safe_open(file, framework="pt") as content:
            said = content.metadata() or {}
            if said.get("for") != file.name:
                return None
            tensors = {key: content.get_tensor(key) for key in content.keys()}  # noqa: SIM118 (not a dict)
    except (OSError, SafetensorError, ValueError, RuntimeError, TypeError):
        return None
    return tensors if said.get("sha256") == _digest(file, tensors) else None


def _digest(file: Path, tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(file.name.encode())
    for name in sorted(tensors):
        digest.update(f"\0{name} {tensors[name].dtype} {list(tensors[name].shape)}\0".encode())
        digest.update(tensors[name].contiguous().view(-1).view(uint8).numpy().data)
    return digest.hexdigest()
