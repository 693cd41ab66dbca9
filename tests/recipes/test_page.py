"""The page of recipes as a page: short, complete, and true about the versions that were tried."""

from __future__ import annotations

import ast
import re
from importlib.metadata import PackageNotFoundError, version

import pytest

from tests.docs.replay import ROOT
from tests.recipes.page import TEXT, sections, versions

LINES = 10


@pytest.mark.parametrize("title", sections())
def test_a_block_has_ten_lines_at_most(title: str) -> None:
    for code in sections()[title]:
        ast.parse(code)
        lines = [line for line in code.splitlines() if line.strip() and not line.lstrip().startswith("#")]
        assert len(lines) <= LINES, code


def test_every_recipe_has_its_row_and_is_run() -> None:
    rows = re.findall(r"^\| \[([^]]+)\]\(#([^)]+)\)", TEXT, flags=re.MULTILINE)
    assert [name.lower() for name, _ in rows] == [title.lower() for title in sections()]
    assert [anchor for _, anchor in rows] == [title.lower().replace(" ", "-") for title in sections()]
    tests = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "tests/recipes").glob("test_*.py"))
    assert [title for title in sections() if f'Recipe("{title}"' not in tests] == []


def test_versions_are_those_of_the_environments_and_those_installed() -> None:
    files = [(ROOT / "tests/recipes" / name).read_text(encoding="utf-8") for name in ("light.txt", "heavy.txt")]
    pins = dict(re.findall(r"^([\w-]+)==([\w.]+)$", "".join(files), flags=re.MULTILINE))
    tried = {name.replace("NVIDIA PhysicsNeMo", "nvidia-physicsnemo"): found for name, found in versions().items()}
    assert len(tried) == 8
    for name, found in ((each.replace("_", "-"), version_) for each, version_ in tried.items()):
        assert pins[name] == found
        try:
            assert version(name) == found
        except PackageNotFoundError:
            continue
