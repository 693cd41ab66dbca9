"""The pictures of the floors, drawn from what the modules import: `python -m tests.docs.architecture` draws them anew.

A box is a room (a folder or module of the package); an arrow leads from a room to one that it imports. A room stands one
floor above the highest room that it imports, so that no arrow leads upwards; arrows that follow from others are left out.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable
from graphlib import CycleError, TopologicalSorter
from html import escape
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "bnsbench"
FOLDER = ROOT / "docs" / "explanation"

Graph = dict[str, set[str]]
"""What every room imports."""


def rooms(package: Path = PACKAGE) -> Graph:
    """Return which rooms of the package import which others."""
    return _graph(package, lambda module: module.split(".")[1] if "." in module else "")


def training_rooms() -> Graph:
    """Return which rooms of training import which others, each folder or module of its own."""

    def room(module: str) -> str:
        parts = module.split(".")
        return parts[2] if parts[1:2] == ["training"] and len(parts) > 2 else ""

    return _graph(PACKAGE / "training", room)


def _graph(folder: Path, room: Callable[[str], str]) -> Graph:
    known = {_name(file) for file in PACKAGE.rglob("*.py")}
    graph: Graph = {}
    for file in sorted(folder.rglob("*.py")):
        name = room(_name(file))
        if name and not name.startswith("_"):
            used = {room(module) for module in _imported(file, known)}
            graph.setdefault(name, set()).update(each for each in used if each and each != name and not each.startswith("_"))
    return graph


def _name(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imported(file: Path, known: set[str]) -> set[str]:
    """Return the package's modules that a file imports at run time, also inside functions."""
    found: set[str] = set()
    for node in _running(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {each if each in known else node.module for each in inner}
    return {name for name in found if name in known}


def _running(tree: ast.AST) -> Iterable[ast.AST]:
    """Yield the nodes that run: not those that only type checkers see."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        yield from _running(node)


def upward(graph: Graph) -> set[tuple[str, str]]:
    """Return arrows without which no rooms import each other in a circle; there should be none."""
    found: set[tuple[str, str]] = set()
    while True:
        try:
            TopologicalSorter(_without(graph, found)).prepare()
        except CycleError as error:
            circle = error.args[1]
            found.add(max((upper, lower) for lower, upper in pairwise(circle)))
        else:
            return found


def _without(graph: Graph, arrows: set[tuple[str, str]]) -> Graph:
    return {room: {each for each in below if (room, each) not in arrows} for room, below in graph.items()}


def floors(graph: Graph) -> list[list[str]]:
    """Return the rooms floor by floor, the lowest first; CycleError if rooms import each other."""
    level: dict[str, int] = {}
    for room in TopologicalSorter(graph).static_order():
        level[room] = 1 + max((level[each] for each in graph.get(room, ())), default=-1)
    return [sorted(room for room in level if level[room] == floor) for floor in range(max(level.values()) + 1)]


def reduced(graph: Graph) -> Graph:
    """Return the graph without arrows that follow from others."""

    def reach(room: str) -> set[str]:
        below = graph.get(room, set())
        return below | {far for each in below for far in reach(each)}

    return {room: {one for one in below if not any(one in reach(other) for other in below)} for room, below in graph.items()}


WIDTH, HEIGHT, GAP_X, GAP_Y, MARGIN, LANE = 118, 34, 18, 40, 16, 12
SWEEPS = 8

Place = tuple[float, float]
Item = str | tuple[str, str, int]
"""What stands on a floor: a room, or the lane (upper, lower, floor) of an arrow that passes it."""


def drawn(graph: Graph) -> str:
    """Return the picture as SVG text; arrows that close a circle are red."""
    against = upward(graph)
    graph = _without(graph, against)
    levels = floors(graph)
    level = {room: floor for floor, row in enumerate(levels) for room in row}
    arrows = sorted((room, each) for room, below in reduced(graph).items() for each in below)
    chains = {arrow: _chain(*arrow, level) for arrow in arrows}
    places, size_x = _placed(_rows(levels, chains), [link for chain in chains.values() for link in pairwise(chain)])
    size_y = 2 * MARGIN + len(levels) * HEIGHT + (len(levels) - 1) * GAP_Y
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size_x:g} {size_y}" width="{size_x:g}" height="{size_y}" '
        'font-family="sans-serif" font-size="14">',
        f'<rect width="{size_x:g}" height="{size_y}" fill="#ffffff"/>',
    ]
    lines += [_arrow([places[each] for each in chain]) for chain in chains.values()]
    lines += [_arrow([places[room], places[each]], "#c62828") for room, each in sorted(against)]
    for room in sorted(level):
        x, y = places[room]
        box = f'x="{x - WIDTH / 2:.1f}" y="{y - HEIGHT / 2:.1f}" width="{WIDTH}" height="{HEIGHT}"'
        lines.append(f'<rect {box} rx="6" fill="#e8eaf6" stroke="#3949ab"/>')
        lines.append(f'<text x="{x:.1f}" y="{y + 5:.1f}" text-anchor="middle" fill="#1a237e">{escape(room)}</text>')
    return "\n".join([*lines, "</svg>", ""])


def _chain(upper: str, lower: str, level: dict[str, int]) -> list[Item]:
    """Return what an arrow passes on its way down: its two rooms and a lane on every floor between them."""
    between = range(level[upper] - 1, level[lower], -1)
    return [upper, *((upper, lower, floor) for floor in between), lower]


def _rows(levels: list[list[str]], chains: dict[tuple[str, str], list[Item]]) -> list[list[Item]]:
    rows: list[list[Item]] = [list(row) for row in levels]
    for chain in chains.values():
        for item in chain:
            if isinstance(item, tuple):
                rows[item[2]].append(item)
    return rows


def _placed(rows: list[list[Item]], links: list[tuple[Item, Item]]) -> tuple[dict[Item, Place], float]:
    """Return the centre of every item and the width of the picture; neighbours are ordered by what they are linked to."""
    linked: dict[Item, list[Item]] = {}
    for upper, lower in links:
        linked.setdefault(upper, []).append(lower)
        linked.setdefault(lower, []).append(upper)
    size_x = 2 * MARGIN + max(sum(map(_width, row)) + GAP_X * (len(row) - 1) for row in rows)
    places: dict[Item, Place] = {}
    for sweep in range(SWEEPS):
        for floor, row in enumerate(rows) if sweep % 2 == 0 else reversed(list(enumerate(rows))):
            here = {
                item: _mean([places[each][0] for each in linked.get(item, ()) if each in places], size_x / 2) for item in row
            }
            row.sort(key=lambda item: (here[item], str(item)))
            x = (size_x - sum(map(_width, row)) - GAP_X * (len(row) - 1)) / 2
            for item in row:
                places[item] = (x + _width(item) / 2, MARGIN + HEIGHT / 2 + (len(rows) - 1 - floor) * (HEIGHT + GAP_Y))
                x += _width(item) + GAP_X
    return places, size_x


def _width(item: Item) -> float:
    return WIDTH if isinstance(item, str) else LANE


def _mean(values: list[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _arrow(through: list[Place], colour: str = "#7986cb") -> str:
    """Return a line from the foot of the first box along the lanes to the head of the last one."""
    (x, y), *lanes, (end, top) = through
    foot = _side(x, [*lanes, (end, top)][0][0])
    steps, y = [f"M{foot:.1f} {y + HEIGHT / 2:.1f}"], y + HEIGHT / 2
    tip = (_side(end, ([(foot, 0.0), *lanes][-1])[0]), top - HEIGHT / 2)
    x = foot
    for goal, height, down in [*((lx, ly - HEIGHT / 2, ly + HEIGHT / 2) for lx, ly in lanes), (*tip, tip[1])]:
        bend = (height - y) / 2
        steps.append(f"C{x:.1f} {y + bend:.1f} {goal:.1f} {height - bend:.1f} {goal:.1f} {height:.1f}")
        steps += [f"V{down:.1f}"] if down != height else []
        x, y = goal, down
    head = f'<path d="M{x - 4:.1f} {y - 7:.1f}h8l-4 7z" fill="{colour}"/>'
    return f'<path d="{" ".join(steps)}" fill="none" stroke="{colour}" stroke-width="1.3"/>{head}'


def _side(x: float, towards: float) -> float:
    """Return where a line leaves a box whose centre is x: a little to the side to which it leads."""
    return x + 0.35 * max(-WIDTH, min(WIDTH, towards - x))


PICTURES: dict[str, Callable[[], Graph]] = {"floors.svg": rooms, "training.svg": training_rooms}


def main() -> None:
    """Draw the pictures."""
    for name, graph in PICTURES.items():
        (FOLDER / name).write_text(drawn(graph()), encoding="utf-8")


if __name__ == "__main__":
    main()
