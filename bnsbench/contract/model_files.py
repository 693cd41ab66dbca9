"""A model in a Python file of the user, named ``FILE.py:NAME``: a plugin of one model, without a hook."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from bnsbench.contract.hookspecs import hookimpl
from bnsbench.contract.specs import ModelSpec
from bnsbench.storage.names import is_file

_NAMED = re.compile(r"(.+\.py):([A-Za-z_][A-Za-z0-9_]*)")


def model_in_file(text: Path | str) -> tuple[Path, str] | None:
    """Return the file and the name in it that ``FILE.py:NAME`` stands for, None for any other text."""
    match = _NAMED.fullmatch(str(text))
    return None if match is None else (Path(match[1]), match[2])


def plugin_name(file: Path) -> str:
    """Return what the plugin of a file, or of a model in a file, is called."""
    found = None if is_file(file) else model_in_file(file)
    return file.stem if found is None else f"{found[0].stem}.{found[1]}"


class ModelInFile:
    """The plugin that offers a model of a module.

    Args:
        module: Where it is.
        name: Of a `bnsbench.Model`, or of a function that takes nothing and returns one.

    Raises:
        AttributeError: If the module has nothing of that name.
    """

    def __init__(self, module: ModuleType, name: str) -> None:
        if not hasattr(module, name):
            raise AttributeError(f"there is no {name} in it")
        self.name, found = name, getattr(module, name)
        made = not callable(found) or hasattr(found, "fingerprint")
        self.target = f"{module.__name__}:{name}"
        self.modality, self.guidable = "points", True
        if made:
            factory = f"_bnsbench_make_{name}"
            setattr(module, factory, lambda: found)
            self.target = f"{module.__name__}:{factory}"
            self.modality, self.guidable = _modality(found), _guidable(found)

    @hookimpl
    def bnsbench_models(self) -> Iterator[ModelSpec]:
        """Offer the model."""
        summary = f"The model {self.name} of a file."
        yield ModelSpec(self.name, self.target, summary, modality=self.modality, guidable=self.guidable)


def _modality(model: Any) -> str:
    """Return what a model generates, as far as its shape tells."""
    if getattr(model, "sample_rate", None) is not None:
        return "audio"
    shape = tuple(getattr(model, "shape", ()))
    return "image" if len(shape) == 3 and shape[0] in (1, 3) else "points"


def _guidable(model: Any) -> bool:
    """Return whether a model has an unconditional prediction."""
    import torch  # noqa: PLC0415 (the file has loaded it)

    try:
        model.null_condition(model.conditions(torch.arange(1)))
    except Exception:  # noqa: BLE001 (it has none, whatever it raises)
        return False
    return True
