"""What is public, and that everybody outside of the package keeps to it: plugins, examples, templates and documents."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from string import Template

import pytest

import bnsbench
import bnsbench.paths
import bnsbench.plugin
import bnsbench.testing

ROOT = Path(__file__).parents[1]
PUBLIC = {"bnsbench": bnsbench, "bnsbench.paths": bnsbench.paths, "bnsbench.plugin": bnsbench.plugin}
PUBLIC["bnsbench.testing"] = bnsbench.testing
LAZY = {name: PUBLIC[name] for name in ("bnsbench", "bnsbench.plugin")}

DOCUMENTS = sorted({ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "plugins").rglob("*.md")})
PROGRAMS = sorted((ROOT / "plugins").rglob("*.py"))
TEMPLATES = sorted((ROOT / "bnsbench" / "contract" / "templates").rglob("*.py.template"))


def typed_imports(module: str) -> dict[str, str]:
    """What a lazy module imports for type checkers: the name, and the module that it comes from."""
    tree = ast.parse(Path(PUBLIC[module].__file__ or "").read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    return {alias.name: node.module or "" for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}


@pytest.mark.parametrize("module", PUBLIC)
def test_every_name_is_there(module: str) -> None:
    assert set(dir(PUBLIC[module])) >= set(PUBLIC[module].__all__)
    for name in PUBLIC[module].__all__:
        assert getattr(PUBLIC[module], name) is not None


@pytest.mark.parametrize("module", LAZY)
def test_type_checkers_see_what_is_there(module: str) -> None:
    found = typed_imports(module)
    assert set(found) | {"__version__"} == set(LAZY[module].__all__) | {"__version__"}
    for name, home in found.items():
        expected = import_module(f"{module}.{name}") if home == module else getattr(import_module(home), name)
        assert getattr(LAZY[module], name) is expected


@pytest.mark.parametrize("module", LAZY)
def test_an_unknown_name_is_refused(module: str) -> None:
    with pytest.raises(AttributeError, match=f"module '{module}' has no attribute 'walk'"):
        _ = LAZY[module].walk


def test_names_of_both_are_the_same() -> None:
    for name in set(bnsbench.__all__) & set(bnsbench.plugin.__all__):
        assert getattr(bnsbench, name) is getattr(bnsbench.plugin, name)


def test_every_group_says_what_it_is_for() -> None:
    for sentence, homes in bnsbench.plugin.GROUPS.items():
        assert re.fullmatch(r"[A-Z][\w ]+: .+\.", sentence)
        assert homes


@pytest.mark.parametrize(
    "program",
    [
        "import bnsbench",
        "import bnsbench.plugin",
        "from bnsbench import hookimpl, ModelSpec, SolverSpec, UsageError",
        "from bnsbench.plugin import Budgets, SolverSpec, did_you_mean, hookimpl, one_line, parse_selector",
    ],
)
def test_hooks_are_written_without_loading_anything_heavy(program: str) -> None:
    heavy = "{'torch', 'numpy', 'scipy', 'pandas', 'matplotlib'}"
    words = [sys.executable, "-c", f"{program}; import sys; print({heavy} & set(sys.modules))"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def foreign(source: str) -> Iterator[str]:
    """What a program takes from inside of bnsbench: modules and names that are not public."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if _inside(alias.name) and alias.name not in PUBLIC)
        elif isinstance(node, ast.ImportFrom) and not node.level and _inside(node.module or ""):
            module = PUBLIC.get(node.module or "")
            names = () if module is None else module.__all__
            yield from (f"{node.module}.{alias.name}" for alias in node.names if alias.name not in names)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "bnsbench":
            if node.attr not in bnsbench.__all__:
                yield f"bnsbench.{node.attr}"
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            # A record's target, the module that a program of its own imports.
            if re.fullmatch(r"bnsbench\.[\w.]+(:\w+)?", node.value) and node.value not in PUBLIC:
                yield node.value
            yield from re.findall(r"\bfrom (bnsbench\.(?!plugin|paths|testing)[\w.]+) import", node.value)


def _inside(module: str) -> bool:
    return module.partition(".")[0] == "bnsbench"


def named(file: Path) -> str:
    return str(file.relative_to(ROOT))


@pytest.mark.parametrize("file", PROGRAMS, ids=named)
def test_plugins_and_examples_use_public_names_only(file: Path) -> None:
    assert list(foreign(file.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("file", TEMPLATES, ids=named)
def test_new_packages_use_public_names_only(file: Path) -> None:
    words = {"name": "my-part", "identifier": "my_part", "package": "bnsbench_my_part", "kind": "solver", "version": "0"}
    assert list(foreign(Template(file.read_text(encoding="utf-8")).substitute(words))) == []


@pytest.mark.parametrize("file", DOCUMENTS, ids=named)
def test_documents_use_public_names_only(file: Path) -> None:
    for program in re.findall(r"```python\n(.*?)```", file.read_text(encoding="utf-8"), re.S):
        signature = program.startswith("def bnsbench_") and "\n" not in program.strip()
        assert list(foreign(f"{program.strip()}: ..." if signature else program)) == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import bnsbench.flows.paths", ["bnsbench.flows.paths"]),
        ("from bnsbench import errors", ["bnsbench.errors"]),
        ("from bnsbench.flows.paths import CondOT", ["bnsbench.flows.paths.CondOT"]),
        ("def f():\n    from bnsbench.plugin import nothing", ["bnsbench.plugin.nothing"]),
        ("import bnsbench\nbnsbench.api.run()", ["bnsbench.api"]),
        ("target = 'bnsbench.solvers.runge_kutta:euler'", ["bnsbench.solvers.runge_kutta:euler"]),
        ("program = 'from bnsbench.cli import main; main()'", ["bnsbench.cli"]),
        ("from bnsbench.plugin import Model\nimport bnsbench\nbnsbench.run()\nimport bnsbench_diffusers.plugin", []),
    ],
)
def test_what_is_internal_is_found(source: str, found: list[str]) -> None:
    assert list(foreign(source)) == found
