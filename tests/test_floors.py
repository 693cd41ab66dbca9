"""The house stands on its floors: rooms import from lower ones only, read from the source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import bnsbench

PACKAGE = Path(bnsbench.__file__).parent

FLOORS = (
    *("_version", "_text", "errors", "_lazy", "storage", "media", "process", "contract", "flows", "truth", "nonstationary"),
    *(
        "solvers",
        "export",
        "training",
        "models",
        "statistics",
        "metrics",
        "suite",
        "report",
        "testing",
        "api",
        "paths",
        "plugin",
    ),
    *("cli", "builtin", "__init__", "__main__"),
)
"""The rooms of the package, from the ground up."""

TRAINING_FLOORS = (
    *("known_choices", "problem", "objectives", "families", "optimisers", "precision", "descent", "tuning"),
    *("recipes", "trainer"),
)
"""The rooms of training, from the ground up."""

INSIDE = {
    "floor": "objectives",
    "moments": "objectives",
    "budget": "problem",
    "allowance": "problem",
    "price": "problem",
    "speed": "problem",
    "economy": "descent",
    "teaching": "descent",
    "distil": "descent",
    "listener": "problem",
    "__init__": "problem",
}
"""Modules of training that stand in a room of another name: what a descent is made of is one with it."""


def modules_imported(file: Path) -> Iterator[str]:
    """Yield the bnsbench modules that a file imports, wherever in it, names of its from-imports included."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def arrows(folder: Path, rooms: dict[str, str]) -> set[tuple[str, str]]:
    """Return (importing room, imported room) of a package's folder, each room told by the names that stand in it."""
    prefix = ".".join(["bnsbench", *folder.relative_to(PACKAGE).parts, ""])
    found = set()
    for file in folder.rglob("*.py"):
        here = rooms[file.relative_to(folder).parts[0].removesuffix(".py")]
        for module in modules_imported(file):
            if module.startswith(prefix):
                there = rooms.get(module.removeprefix(prefix).split(".")[0], "__init__")
                found.add((here, there))
    return {(here, there) for here, there in found if here != there}


def upward(found: set[tuple[str, str]], floors: tuple[str, ...]) -> set[tuple[str, str]]:
    """Return the arrows that do not go down, of which there can be no circle without one."""
    return {(here, there) for here, there in found if floors.index(there) >= floors.index(here)}


def test_every_room_has_its_floor() -> None:
    standing = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert standing <= set(FLOORS)


def test_no_room_imports_from_above() -> None:
    rooms = {name: name for name in FLOORS}
    assert upward(arrows(PACKAGE, rooms), FLOORS) == set()


def training_arrows() -> set[tuple[str, str]]:
    rooms = {name: name for name in TRAINING_FLOORS} | INSIDE
    return {arrow for arrow in arrows(PACKAGE / "training", rooms) if "__init__" not in arrow}


def test_no_room_of_training_imports_from_above() -> None:
    assert upward(training_arrows(), TRAINING_FLOORS) == set()


def test_the_rooms_of_training_are_few_arrows_apart() -> None:
    """The trainer, the door through which all others come in, is left out of account."""
    inner = {arrow for arrow in training_arrows() if "trainer" not in arrow}
    assert len(inner) < 20


def test_an_arrow_upward_would_be_found(tmp_path: Path) -> None:
    assert upward({("flows", "suite"), ("suite", "flows")}, FLOORS) == {("flows", "suite")}
    (tmp_path / "room.py").write_text("def late():\n    from bnsbench.suite import run\n", encoding="utf-8")
    assert list(modules_imported(tmp_path / "room.py")) == ["bnsbench.suite.run"]
