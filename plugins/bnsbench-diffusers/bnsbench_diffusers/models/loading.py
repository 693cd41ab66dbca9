"""Pipelines from a folder or the hub, in the precision in which their denoiser is stored."""

from __future__ import annotations

import importlib
import json
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers.utils import deprecation_utils
from diffusers.utils import logging as diffusers_logging
from safetensors import SafetensorError, safe_open

from bnsbench.plugin import UsageError, one_line

INDEX = "model_index.json"
DENOISERS = ("unet", "transformer")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_EXTRAS = "Pipelines that read text need bnsbench-diffusers[text], Stable Audio needs bnsbench-diffusers[audio]."


def find_folder(path: str, variant: str = "", revision: str = "") -> Path:
    """Return the folder of a pipeline: ``path`` itself, or where diffusers has put what the hub has under that id.

    variant: of the weights' files, such as "fp16". revision: of the hub's repository. Raises UsageError if there is no such
    folder and no such repository, or no pipeline in it.
    """
    if not path:
        raise UsageError("The model 'diffusers' needs a pipeline: write diffusers[path=FOLDER] or diffusers[path=HUB/ID].")
    folder = Path(path).expanduser()
    if not folder.is_dir():
        folder = _download(path, variant, revision)
    if not (folder / INDEX).is_file():
        raise UsageError(f"The folder {folder} holds no diffusers pipeline: it has no {INDEX}.")
    return folder


def is_hub_id(path: str) -> bool:
    """Whether the hub may have something under that name."""
    return _HUB_ID.fullmatch(path) is not None and not path.startswith(".")


def pipeline_class(folder: Path) -> str:
    """Return the name of the pipeline's class; UsageError if the folder's index is malformed."""
    try:
        return str(json.loads((folder / INDEX).read_text(encoding="utf-8"))["_class_name"])
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{folder / INDEX} does not name the class of its pipeline.") from error


def load_pipeline(folder: Path, variant: str = "") -> Any:
    """Return the pipeline in a folder, without reaching for the network; UsageError says why it cannot be loaded."""
    keyword = "dtype" if hasattr(deprecation_utils, "_resolve_dtype") else "torch_dtype"
    dtype = stored_dtype(folder, variant)
    options = {keyword: dtype, "local_files_only": True, "variant": variant or None}
    if (folder / "safety_checker").is_dir():
        options |= {"safety_checker": None, "requires_safety_checker": False}
    try:
        _import_solvers(folder)
        if _component_class(folder, "language_model") == "GPT2Model":
            options["language_model"] = _generating(folder / "language_model", dtype, variant)
        with quiet():
            return diffusers.DiffusionPipeline.from_pretrained(str(folder), **options)
    except (OSError, ValueError, ImportError, AttributeError, RuntimeError) as error:
        hint = f" {_EXTRAS}" if isinstance(error, ImportError) else ""
        raise UsageError(f"The pipeline in {folder} could not be loaded: {one_line(error)}.{hint}") from error


def denoiser_of(pipeline: Any) -> Any:
    """Return the network of a pipeline that its steps ask; UsageError if it has none that is known."""
    for component in DENOISERS:
        if (found := getattr(pipeline, component, None)) is not None:
            return found
    raise UsageError(f"The pipeline {type(pipeline).__name__} has no {' and no '.join(DENOISERS)}.")


def stored_dtype(folder: Path, variant: str = "") -> torch.dtype:
    """Return the precision of the denoiser's stored weights, float32 where its files do not tell."""
    for component in DENOISERS:
        suffix = f".{variant}*.safetensors" if variant else ".safetensors"
        for file in sorted((folder / component).glob(f"*{suffix}")):
            found = _floating_dtype(file)
            if found is not None:
                return found
    return torch.float32


@contextmanager
def quiet() -> Iterator[None]:
    """Keep diffusers and transformers from drawing progress bars, and from warning of what other libraries will change."""
    shown = [_bars(diffusers_logging), _bars(_transformers_logging())]
    for module, active in shown:
        if active:
            module.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        for module, active in shown:
            if active:
                module.enable_progress_bar()


def _component_class(folder: Path, name: str) -> str:
    """Return the name of a component's class, empty if the pipeline has none of that name."""
    found: list[str | None] = json.loads((folder / INDEX).read_text(encoding="utf-8")).get(name) or [""]
    return found[-1] or ""


def _import_solvers(folder: Path) -> None:
    """Import the scheduler of a pipeline that was saved with a solver: diffusers takes it from modules that are loaded."""
    if _component_class(folder, "scheduler") == "NonStationaryScheduler":
        importlib.import_module("bnsbench_diffusers.schedulers.nonstationary")


def _generating(folder: Path, dtype: torch.dtype, variant: str) -> Any:
    """Return GPT-2 with the methods by which AudioLDM2 generates, which in transformers only the class with a head has."""
    from transformers import GPT2LMHeadModel  # noqa: PLC0415 - an optional dependency

    with quiet():
        return GPT2LMHeadModel.from_pretrained(folder, dtype=dtype, local_files_only=True, variant=variant or None)


def _bars(module: Any) -> tuple[Any, bool]:
    return module, module is not None and module.is_progress_bar_enabled()


def _transformers_logging() -> Any:
    try:
        from transformers.utils import logging  # noqa: PLC0415 - an optional dependency
    except ImportError:
        return None
    return logging


def _download(path: str, variant: str, revision: str) -> Path:
    if not is_hub_id(path):
        raise UsageError(f"There is no folder {path!r}, and it is no hub id such as 'google/ddpm-cifar10-32'.")
    try:
        options = {"variant": variant or None, "revision": revision or None}
        return Path(diffusers.DiffusionPipeline.download(path, **options))
    except (OSError, ValueError) as error:
        raise UsageError(f"There is no folder {path!r}, and the hub does not give it: {one_line(error)}.") from error


def _floating_dtype(file: Path) -> torch.dtype | None:
    """Return the precision of most of a file's floating-point numbers; None if it has none or cannot be read."""
    names = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
    counts = dict.fromkeys(names, 0)
    try:
        with safe_open(file, framework="pt") as content:
            for key in content.keys():  # noqa: SIM118 (not a dict)
                part = content.get_slice(key)
                if part.get_dtype() in counts:
                    counts[part.get_dtype()] += torch.Size(part.get_shape()).numel()
    except (OSError, SafetensorError):
        return None
    most = max(counts, key=lambda name: counts[name])
    return names[most] if counts[most] else None
