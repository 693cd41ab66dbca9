"""docs/reference/solvers.md is true: its table of solvers is what the specs say, and its grids are all that there are."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
import torch

from bnsbench.contract import parse_selector
from bnsbench.errors import UsageError
from bnsbench.flows.paths import CondOT
from bnsbench.solvers import grids
from bnsbench.solvers.grids import time_grid
from bnsbench.solvers.specs import SOLVERS

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "solvers.md").read_text(encoding="utf-8")


def table(header: str) -> list[list[str]]:
    """The rows of the table that begins with this header, as lists of cells."""
    lines = PAGE[PAGE.index(f"| {header} |") :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_table_has_every_solver_as_its_spec_has_it():
    rows = table("solver")
    assert [row[0] for row in rows] == [f"`{spec.name}`" for spec in SOLVERS]
    for row, spec in zip(rows, SOLVERS, strict=True):
        _, order, stages, known_as, _, use, reference = row
        assert (order, stages, reference) == (str(spec.order), str(spec.stages), spec.reference)
        assert [name for name in known_as.replace("`", "").split("; ") if name] == list(spec.known_as)
        assert use


def test_what_the_page_names_exists():
    """Every `name[key=value]` of ours, here in the columns of our own words and below the table."""
    parameters = {spec.name: spec.parameters for spec in SOLVERS}
    own = "\n".join([*(" ".join(row[4:6]) for row in table("solver")), PAGE.split("`for` is")[1].split("### On flow")[0]])
    named = [parse_selector(text) for text in re.findall(r"`([a-z0-9+-]+(?:\[[^`]*\])?)`", own)]
    found = [(name, settings) for _, name, settings in named if name in parameters]
    assert len(found) > 40
    assert [(name, key) for name, settings in found for key in settings if key not in parameters[name]] == []
    unknown = {name for _, name, settings in named if settings and name not in parameters}
    assert unknown == set()


def test_the_table_has_every_grid_with_its_options():
    rows = table("grid")
    assert [row[0] for row in rows] == [f"`{name}`" for name in grids._GRIDS]
    for name, options, _ in rows:
        function = grids._GRIDS[name.strip("`")]
        expected = [
            each
            for each in list(inspect.signature(function).parameters.values())[3:]
            if each.kind is not each.VAR_POSITIONAL
        ]
        said = re.findall(r"([A-Z_]+[0-9]*)(?: \(([-0-9.]+)\))?", options.split(" (the path's")[0])
        if name == "`nodes`":
            continue
        assert [each[0].lower() for each in said][: len(expected)] == [_letter(each.name) for each in expected]
        for (_, default), each in zip(said, expected, strict=True):
            assert default == ("" if each.default is None else f"{each.default:g}")
    for alias, name in grids._ALIASES.items():
        assert re.search(rf"`{alias}` (is another name )?of `{name}`", PAGE)


def _letter(name):
    return {"power": "p"}.get(name, name)


PARTS = torch.arange(7, dtype=torch.float64) / 6
FORMULAS = {
    "uniform": PARTS,
    "nodes:0.1:0.2:0.3:0.4:0.5": torch.tensor([0, 0.1, 0.2, 0.3, 0.4, 0.5, 1.0], dtype=torch.float64),
    "chebyshev": (1 - torch.cos(torch.pi * PARTS)) / 2,
    "quadratic": 1 - (1 - PARTS) ** 2,
    "power:3": 1 - (1 - PARTS) ** 3,
    "kumaraswamy:1.25:1.6": 1 - (1 - PARTS**1.25) ** 1.6,
    "shifted:2.5": 1 - 2.5 * (1 - PARTS) / (1 + 1.5 * (1 - PARTS)),
    "logsnr:-4:2": torch.sigmoid(-4 + 6 * PARTS),
    "inner:-2:3": torch.sigmoid(-2 + 5 * (6 * PARTS - 1) / 4),
    "edm:5:0.1:20": 1 / (1 + (20 ** (1 / 5) + (0.1 ** (1 / 5) - 20 ** (1 / 5)) * 6 / 5 * PARTS) ** 5),
}


@pytest.mark.parametrize("grid", FORMULAS)
def test_the_formulas_of_the_page(grid):
    """Inner nodes on CondOT, where time is sigma(lambda); the step to the data of "edm" is one of its own."""
    torch.testing.assert_close(time_grid(grid, CondOT(), (0.0, 1.0), 6)[1:-1], FORMULAS[grid][1:-1], rtol=0, atol=1e-12)
    assert {name.partition(":")[0] for name in FORMULAS} == set(grids._GRIDS)
    with pytest.raises(UsageError, match="no time grid"):
        time_grid("other", CondOT(), (0.0, 1.0), 6)
