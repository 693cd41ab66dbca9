"""Networks of transformers with their processors, from a folder or the hub, each loaded once in a process."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import torch

from bnsbench.plugin import UsageError, content_hash, one_line, seeded_random_states
from bnsbench_diffusers.models.fingerprint import digest_of, network_digest, tokenizer_digest
from bnsbench_diffusers.models.loading import is_hub_id, quiet

Family = Literal["CLIP", "Clap"]
"""As transformers spells it in the names of its classes."""

KEPT = 3
"""Networks held in memory."""

_READ = (".safetensors", ".bin", ".json", ".txt", ".model")
"""Endings of files with weights, configurations and vocabularies."""

_Files = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class Checkpoint:
    """A network in float32 that cannot be trained, and its processor; the fingerprint is a hash of both."""

    network: Any
    processor: Any
    fingerprint: str


def require_place(family: Family, path: str, what: str = "path") -> None:
    """Raise UsageError unless a path is a folder with a network of that family, or may be an id on the hub.

    what: the parameter that the path has been given by.
    """
    name = family.upper()
    if not path:
        raise UsageError(f"This metric needs a checkpoint of {name}: give {what}=FOLDER or {what}=HUB/ID.")
    folder = Path(path).expanduser()
    if not folder.is_dir():
        if not is_hub_id(path):
            raise UsageError(f"There is no folder {path!r} with a checkpoint of {name}, and it is no hub id.")
    elif what == "path" and _model_type(folder) != family.lower():
        raise UsageError(f"The folder {folder} holds no checkpoint of {name}, as transformers saves it.")


def load_checkpoint(family: Family, path: str, processor: str = "") -> Checkpoint:
    """Return the network in a folder or on the hub; weights in safetensors come first.

    processor: where its tokenizer and preprocessing are, if elsewhere. A folder is not loaded again before one of its files
    changes. Raises UsageError for what cannot be loaded, or lacks weights.
    """
    places = path, processor or path
    return _load(family, places, tuple(_files(place) for place in places))


def checkpoint_hash(path: str) -> str:
    """Return the hash of what a folder holds of a checkpoint; of one from the hub its commit, "" before it is fetched.

    Weights in another form than safetensors count only where there are none in that form, as they are loaded.
    """
    folder = Path(path).expanduser()
    if not folder.is_dir():
        return _commit(path)
    files = sorted(file for file in folder.iterdir() if file.suffix in _READ and file.is_file())
    if any(file.suffix == ".safetensors" for file in files):
        files = [file for file in files if file.suffix != ".bin"]
    return content_hash(folder, files)


def _commit(path: str) -> str:
    try:
        from huggingface_hub import try_to_load_from_cache  # noqa: PLC0415 - comes with transformers
    except ImportError:
        return ""
    found = try_to_load_from_cache(path, "config.json")
    return Path(found).parent.name if isinstance(found, str) else ""


@lru_cache(maxsize=KEPT)
def _load(family: Family, places: tuple[str, str], files: tuple[_Files, ...]) -> Checkpoint:
    del files  # part of the key
    # Whatever a class draws while it is made is overwritten by the weights.
    with seeded_random_states(0), quiet():
        network = _network(family, places[0])
        processor = _from_place(f"{family}Processor", places[1])
    folder = Path(places[0]).expanduser()
    weights = network_digest(network, folder if folder.is_dir() else None)
    return Checkpoint(network, processor, digest_of([weights, *_facts(processor)]))


def _network(family: Family, path: str) -> Any:
    network, report = _from_place(f"{family}Model", path, dtype=torch.float32, output_loading_info=True)
    missing = set(report["missing_keys"]) & {name for name, _ in network.named_parameters()}
    if missing:
        raise UsageError(f"The checkpoint {path!r} lacks weights of {family.upper()}, such as {min(missing)}.")
    return network.eval().requires_grad_(False)


def _from_place(name: str, path: str, **options: Any) -> Any:
    """Return what a class of transformers loads from a folder, without the network, or else from the hub."""
    folder = Path(path).expanduser()
    place, local = (str(folder), True) if folder.is_dir() else (path, False)
    try:
        import transformers  # noqa: PLC0415 - an optional dependency

        return getattr(transformers, name).from_pretrained(place, local_files_only=local, **options)
    except ImportError as error:
        raise UsageError(f"{name} could not be used: {error}. It needs bnsbench-diffusers[text].") from error
    except (OSError, ValueError, TypeError, KeyError, RuntimeError) as error:
        raise UsageError(f"The {name} of {path!r} could not be loaded: {one_line(error)}.") from error


def _facts(processor: Any) -> list[Any]:
    """Return all that determines what a processor does to texts, and to images or sounds."""
    preparing = getattr(processor, "image_processor", None) or processor.feature_extractor
    return [tokenizer_digest(processor.tokenizer), preparing.to_dict()]


def _files(path: str) -> _Files:
    """Return names, sizes and times of a folder's files; nothing for a hub id."""
    folder = Path(path).expanduser()
    if not folder.is_dir():
        return ()
    found = ((file.name, file.stat()) for file in sorted(folder.iterdir()) if file.is_file())
    return tuple((name, status.st_size, status.st_mtime_ns) for name, status in found)


def _model_type(folder: Path) -> str:
    try:
        return str(json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
