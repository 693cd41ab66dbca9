"""The shipped parameter files: half-precision safetensors, listed with hash and training record in one manifest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import load as parse_safetensors
from safetensors.torch import save as format_safetensors
from torch import Tensor, nn

from bnsbench.errors import CorruptFileError, UsageError
from bnsbench.storage.files import replacing

WEIGHTS = Path(__file__).parent / "weights"
"""The folder of the shipped files."""

MANIFEST = "manifest.json"

_Network = TypeVar("_Network", bound=nn.Module)


def read_manifest(folder: Path = WEIGHTS) -> dict[str, Any]:
    """Return the manifest, name -> {"file", "sha256", "training"}; empty if the folder has none."""
    file = folder / MANIFEST
    if not file.exists():
        return {}
    entries: dict[str, Any] = json.loads(file.read_text())
    return entries


def folder_with(name: str, folders: Sequence[Path]) -> Path:
    """Return the first folder whose manifest lists the weights of that name; UsageError if none does."""
    for folder in folders:
        if name in read_manifest(folder):
            return folder
    searched = " or ".join(str(folder) for folder in folders)
    raise UsageError(f"There are no weights named {name!r} in {searched}: bnsbench pretrain {name} makes them.")


def load_weights(name: str, folder: Path = WEIGHTS) -> dict[str, Tensor]:
    """Return the tensors of that name in float32, after checking the file against its hash.

    Raises:
        UsageError: If the manifest does not list that name.
        CorruptFileError: If the file is missing or altered.
    """
    entry = _entry(name, folder)
    file = folder / entry["file"]
    content = file.read_bytes() if file.is_file() else b""
    if hashlib.sha256(content).hexdigest() != entry["sha256"]:
        raise CorruptFileError(
            f"The weights {file} are missing or differ from the sha256 in {MANIFEST}: reinstall the package."
        )
    return {key: value.to(torch.float32) for key, value in parse_safetensors(content).items()}


def load_network(make: Callable[[], _Network], name: str, folder: Path = WEIGHTS) -> _Network:
    """Return a network with the weights of that name, frozen and in evaluation mode.

    The process's random state stays as it is.

    Args:
        make: Builds the network.
        name: Of the weights in the manifest.
        folder: That of the weights.

    Raises:
        UsageError: If the manifest does not list that name.
        CorruptFileError: If the file is missing or altered.
    """
    with torch.random.fork_rng(devices=()):  # initial weights are drawn, and thrown away
        network = make()
    network.load_state_dict(load_weights(name, folder))
    return network.eval().requires_grad_(False)


def save_weights(name: str, tensors: Mapping[str, Tensor], training: Mapping[str, Any], folder: Path) -> None:
    """Write tensors in float16 and enter their hash and training record in the folder's manifest.

    Args:
        name: Of the weights.
        tensors: By name; those of bytes stay such.
        training: JSON-like record.
        folder: That of the weights; its manifest is made if there is none.
    """
    content = format_safetensors({key: _stored(value) for key, value in tensors.items()})
    _write(folder / f"{name}.safetensors", content)
    entries = read_manifest(folder)
    digest = hashlib.sha256(content).hexdigest()
    entries[name] = {"file": f"{name}.safetensors", "sha256": digest, "training": dict(training)}
    _write_manifest(entries, folder)


def record_figures(name: str, figures: Mapping[str, float], folder: Path) -> None:
    """Enter figures of the weights of that name in the folder's manifest, beside those that stand there; no weights change.

    Args:
        name: Of the weights.
        figures: By name; they are kept with four decimals.
        folder: That of the weights.

    Raises:
        UsageError: If the manifest does not list that name.
    """
    _entry(name, folder)
    entries = read_manifest(folder)
    kept = entries[name]["training"].setdefault("figures", {})
    kept.update({key: round(value, 4) for key, value in figures.items()})
    _write_manifest(entries, folder)


def weights_fingerprint(name: str, folder: Path = WEIGHTS) -> str:
    """Return the sha256 that the manifest records for that name; it is checked whenever the weights are loaded."""
    return str(_entry(name, folder)["sha256"])


def _stored(tensor: Tensor) -> Tensor:
    tensor = tensor.detach().cpu().contiguous()
    return tensor if tensor.dtype == torch.uint8 else tensor.to(torch.float16)


def _entry(name: str, folder: Path) -> dict[str, Any]:
    entries = read_manifest(folder)
    if name not in entries:
        known = ", ".join(sorted(entries)) or "none"
        raise UsageError(f"There are no weights named {name!r} in {folder}; known names: {known}.")
    entry: dict[str, Any] = entries[name]
    return entry


def _write_manifest(entries: Mapping[str, Any], folder: Path) -> None:
    _write(folder / MANIFEST, (json.dumps(entries, indent=2, sort_keys=True) + "\n").encode())


def _write(file: Path, content: bytes) -> None:
    with replacing(file) as temporary:
        temporary.write_bytes(content)
