"""The list of time grids says what the code does."""

from __future__ import annotations

import inspect

import pytest
import torch

from bnsbench.errors import UsageError
from bnsbench.flows.paths import CondOT
from bnsbench.solvers import grids
from bnsbench.solvers.grids import NamedGrid, time_grid
from bnsbench.solvers.known_grids import GRIDS

EXAMPLES = {"nodes": "nodes:0.1:0.5:0.7", "logsnr": "logsnr:-5:5", "inner": "inner:-2:3", "edm": "edm:7:0.002:80"}
OUTSIDE = (
    "power:0",
    "kumaraswamy:0:1",
    "kumaraswamy:1:0",
    "shifted:0",
    "edm:0",
    "logsnr:5:-5",
    "edm:7:80:0.002",
    "inner:3:-3",
)


def test_every_grid_is_listed_with_its_other_names():
    assert {grid.name for grid in GRIDS} == set(grids._GRIDS)
    assert {alias: grid.name for grid in GRIDS for alias in grid.known_as} == grids._ALIASES


@pytest.mark.parametrize("grid", GRIDS, ids=lambda grid: grid.name)
def test_options_are_those_of_the_grid(grid):
    parameters = list(inspect.signature(grids._GRIDS[grid.name]).parameters.values())[3:]
    if grid.name == "nodes":
        assert parameters[0].kind is inspect.Parameter.VAR_POSITIONAL
        return
    assert [(option.name.lower(), option.default) for option in grid.options] == [
        (each.name, each.default) for each in parameters
    ]
    assert grid.written == ":".join([grid.name, *(option.name for option in grid.options)])


@pytest.mark.parametrize("grid", GRIDS, ids=lambda grid: grid.name)
def test_what_is_written_is_understood(grid):
    times = time_grid(EXAMPLES.get(grid.name, grid.name), CondOT(), (0.0, 1.0), 4)
    assert bool((times.diff() > 0).all())
    for alias in grid.known_as:
        assert torch.equal(time_grid(alias, CondOT(), (0.0, 1.0), 4), time_grid(grid.name, CondOT(), (0.0, 1.0), 4))
    defaults = [option.default for option in grid.options]
    if defaults and None not in defaults:
        spelt = time_grid(NamedGrid(grid.name, tuple(defaults)), CondOT(), (0.0, 1.0), 4)
        assert torch.equal(spelt, time_grid(grid.name, CondOT(), (0.0, 1.0), 4))


@pytest.mark.parametrize("text", OUTSIDE)
def test_values_outside_the_range_are_refused(text):
    with pytest.raises(UsageError):
        time_grid(text, CondOT(), (0.0, 1.0), 5)
