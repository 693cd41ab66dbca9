"""Hashes of networks and tokenizers; those of large networks are kept beside the identity of their files."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bnsbench.plugin import cache_folder, replacing

_SUFFIXES = (".safetensors", ".bin")


def digest_of(facts: Any) -> str:
    """Return the SHA-256 hash of plain data, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


def network_digest(network: torch.nn.Module, folder: Path | None = None) -> str:
    """Return a hash of a network's class, configuration, precision and weights.

    folder: that of its files, if it has just been read from there; a network from the same files, unchanged in size and
    time, is then not hashed again.
    """
    kept = None if folder is None else _kept_file(network, folder)
    if kept is not None and (known := _known(kept)):
        return known
    found = digest_of([type(network).__name__, _configuration(network), _weights_digest(network)])
    if kept is not None:
        with replacing(kept) as temporary:
            temporary.write_text(found, encoding="utf-8")
    return found


def tokenizer_digest(tokenizer: Any) -> str:
    """Return a hash of a tokenizer's class, vocabulary, rules and length."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    rules = tokenizer.get_vocab() if backend is None else backend.to_str()
    return digest_of([type(tokenizer).__name__, rules, tokenizer.model_max_length])


def _weights_digest(network: torch.nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        for part in _parts(tensor):
            digest.update(_content(part))
    return digest.hexdigest()


def _parts(tensor: Tensor) -> Iterator[Tensor]:
    """Yield a tensor, or the plain ones that it is made of, as torchao's quantised weights are."""
    if not hasattr(tensor, "__tensor_flatten__"):
        yield tensor
        return
    for name in tensor.__tensor_flatten__()[0]:
        yield from _parts(getattr(tensor, name))


def _content(tensor: Tensor) -> memoryview:
    array: Any = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return memoryview(array)


def _configuration(network: torch.nn.Module) -> dict[str, Any]:
    """Return a network's configuration without private entries, which hold the place it came from."""
    config = getattr(network, "config", {})
    entries = config.to_dict() if hasattr(config, "to_dict") else dict(config)
    unlike = {"transformers_version", "torch_dtype", "dtype"}
    return {key: value for key, value in entries.items() if not key.startswith("_") and key not in unlike}


def _known(kept: Path) -> str:
    """Return the hash that a file keeps, "" if it is absent or damaged."""
    try:
        found = kept.read_bytes().decode("ascii")
    except (OSError, UnicodeDecodeError):
        return ""
    return found if re.fullmatch("[0-9a-f]{64}", found) else ""


def _kept_file(network: torch.nn.Module, folder: Path) -> Path | None:
    """Return where the hash of the network in this folder is kept, None if the folder holds no weights."""
    files = sorted(file for file in folder.glob("*") if file.suffix in _SUFFIXES)
    if not files:
        return None
    identity = [(str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    facts = [identity, type(network).__name__, _configuration(network), str(next(network.parameters()).dtype)]
    return cache_folder() / "diffusers" / "fingerprints" / f"{digest_of(facts)}.txt"
