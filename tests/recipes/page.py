"""The page of recipes: its sections, their code, and exported tables in the place of the files that it imports."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

import bnsbench
from bnsbench.api.wrapped import WrappedModel
from bnsbench.export.files import kdiffusion, odeint
from bnsbench.flows.model import Model
from bnsbench.nonstationary.artefact import SolverArtefact
from bnsbench.nonstationary.table import NonStationarySolver
from tests.docs.replay import ROOT

TEXT = (ROOT / "docs/how-to/recipes.md").read_text(encoding="utf-8")
_BLOCK = re.compile(r"(<!-- fragment -->\n\n)?^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
_WRITERS = {"kdiffusion": kdiffusion, "odeint": odeint}


def sections() -> dict[str, list[str]]:
    """Return the blocks of code of each recipe, by its heading, fragments left out."""
    parts = re.split(r"^## (.+)\n", TEXT, flags=re.MULTILINE)
    return {
        title: [code for mark, code in _BLOCK.findall(body) if not mark]
        for title, body in zip(parts[1::2], parts[2::2], strict=True)
    }


def versions() -> dict[str, str]:
    """Return the versions that the table at the top says were tried, by the package's name."""
    rows = re.findall(r"^\| \[([^]]+)\]\([^|]*\|[^|]*\|[^|]*\| ([^|]*?) ?\|", TEXT, flags=re.MULTILINE)
    return {name: version for name, version in rows if version}


class Recipe:
    """A recipe, run block by block.

    Args:
        title: Its heading.
        given: What a user has before the first line: networks, noise, labels.
    """

    def __init__(self, title: str, **given: Any) -> None:
        self.title = title
        self.names: dict[str, Any] = {"__name__": "recipe", "torch": torch, "nn": torch.nn, **given}
        self._blocks = iter(sections()[title])

    def run(self, **given: Any) -> dict[str, Any]:
        """Run the next block, with what a user has by then, and return all names."""
        self.names.update(given)
        exec(compile(next(self._blocks), f"recipes.md, {self.title}", "exec"), self.names)  # noqa: S102
        return self.names

    @property
    def model(self) -> WrappedModel:
        model = self.names["model"]
        assert isinstance(model, WrappedModel)
        return model


REQUIRED = os.environ.get("BNSBENCH_RECIPES", "").split()
"""Packages without which tests fail: those of the environment that is there for them."""


def package(name: str) -> Any:
    """Import a package that the recipe is for, whatever it warns of, or skip the test."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if name.partition(".")[0] in REQUIRED:
            return importlib.import_module(name)
        return pytest.importorskip(name, reason=f"{name} is not installed: tox -e recipes", exc_type=ImportError)


def export(
    model: Model, kind: str, folder: Path, patch: pytest.MonkeyPatch, guidance: float = 0.0, **options: Any
) -> tuple[NonStationarySolver, ModuleType]:
    """Trace a solver for a model, write it for other software, and let the page import it; return the table and the file."""
    table = bnsbench.solver("dpm++2m", 8, model)
    artefact = SolverArtefact(table, model.path, model.interval, "mine", "abc123", guidance, "bns")
    file = _WRITERS[kind](artefact, folder, **options)
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    patch.setitem(sys.modules, "bns8", module)
    return table, module


@torch.no_grad()
def sampled(model: Model, table: NonStationarySolver, noise: Tensor, condition: Tensor | None = None) -> Tensor:
    """Return the end states of a table for standard noise."""
    begin = float(model.path.sigma(model.interval[0]))
    return table(model.field(condition), begin * noise)


def same(found: Tensor, expected: Tensor, tolerance: float = 1e-5) -> None:
    """Assert that states agree, relative to the largest of them."""
    assert found.shape == expected.shape
    gap = float((found.double() - expected.double()).abs().max()) / float(expected.abs().max())
    assert gap <= tolerance, gap


def normal(*shape: int) -> Tensor:
    """Return standard noise, the same in every run."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(7))
