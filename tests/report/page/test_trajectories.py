"""Trajectories in the plane on a page: of the package's exact mixtures, with the tables that were measured."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch

from bnsbench.models.mixtures import ring8
from bnsbench.nonstationary.artefact import SolverArtefact
from bnsbench.nonstationary.table import NonStationarySolver
from bnsbench.nonstationary.tracing import trace
from bnsbench.report.page.build import build_page
from bnsbench.report.page.trajectories import COUNT
from bnsbench.solvers.runge_kutta import euler
from tests.report.page.made import made_record


@pytest.fixture
def model():
    return ring8()


@pytest.fixture
def euler_table(model):
    return trace(lambda field, x0: euler(field, x0, 8), model.path, model.interval)


@pytest.fixture
def learned():
    return NonStationarySolver(torch.linspace(0, 1, 9), torch.ones(8), torch.full((8, 8), 0.125).tril())


@pytest.fixture
def records(model, euler_table, learned):
    """Records of Euler's rule, and of a learned table that is Euler's rule, but for its rounding."""
    known = {"fingerprint": model.fingerprint()}
    tables = {"euler": euler_table, "bns": learned}
    made = [
        made_record("euler", 8, 26.0),
        made_record("bns", 8, 41.0, kind="learned", file="bns.json"),
    ]
    return [
        replace(each, model=known, solver={**each.solver, "fingerprint": tables[each.cell["solver"]["name"]].fingerprint()})
        for each in made
    ]


@pytest.fixture
def planes(made_results, read_page, model, learned):
    """Return the figures of trajectories on the page of some records."""

    def read(records):
        store = made_results(records)
        artefact = SolverArtefact(learned, model.path, model.interval, "ring8", model.fingerprint(), 0.0, "bns", {})
        artefact.save(store.solvers / "bns.json")
        page = read_page(build_page([store]))
        return [figure for part in page.all("div", "trajectories") for figure in part.all("figure")]

    return read


def ends(path):
    """Return the last points of a path's ways."""
    return torch.tensor([[float(each) for each in way.split("L")[-1].split()] for way in path.split("M")[1:]])


def test_a_learned_table_and_a_classic_are_drawn_over_the_truth(planes, records, model):
    drawn = planes(records)
    assert [next(figure.all("figcaption")).text for figure in drawn] == ["bns, 8 NFE: 41.00 dB", "euler, 8 NFE: 26.00 dB"]
    paths = [{path.classes[0]: path.attributes["d"] for path in figure.all("path")} for figure in drawn]
    assert paths[0]["truth"] == paths[1]["truth"]
    for found in paths:
        assert found["line"].count("M") == found["truth"].count("M") == COUNT
        assert found["line"].count("L") == 8 * COUNT
    assert len(list(drawn[0].all("circle", "begun"))) == COUNT
    assert len(list(drawn[0].all("circle", "own"))) == 8 * COUNT
    # Both tables are Euler's rule, whose ends are near those of the truth, but not on them.
    assert torch.allclose(ends(paths[0]["line"]), ends(paths[1]["line"]), atol=0.11)
    apart = (ends(paths[1]["line"]) - ends(paths[1]["truth"])).norm(dim=-1)
    assert 1.0 < float(apart.mean()) < 20.0


def test_the_truth_ends_where_the_density_is(planes, records, model):
    """The ends lie within four deviations of a mean, told by places in the figure that are apart as the means are."""
    (path, _) = (next(each.attributes["d"] for each in figure.all("path", "truth")) for figure in planes(records))
    places = ends(path) - 180.0
    radii = places.norm(dim=-1)
    unit = float(radii.median())  # of the circle on which the means are
    means = model.mixture.means.float() * unit
    nearest = torch.cdist(places, means).min(dim=1).values
    assert float(nearest.max()) < 4.5 * 0.06 * unit
    assert len(torch.cdist(places, means).argmin(dim=1).unique()) >= 5


@pytest.mark.parametrize("changed", ["model", "solver", "plugin"])
def test_nothing_is_drawn_of_what_is_not_as_it_was_measured(planes, records, changed):
    if changed == "model":
        made = [replace(each, model={"fingerprint": "3" * 64}) for each in records]
    elif changed == "solver":
        made = [replace(each, solver={**each.solver, "fingerprint": "3" * 64}) for each in records]
    else:
        made = [replace(each, cell={**each.cell, "model": {**each.cell["model"], "provider": "else"}}) for each in records]
    assert planes(made) == []


def test_a_solver_that_is_not_as_it_was_measured_is_left_out(planes, records):
    first = replace(records[0], solver={**records[0].solver, "fingerprint": "3" * 64})
    drawn = planes([first, records[1]])
    assert [re.sub(",.*", "", next(figure.all("figcaption")).text) for figure in drawn] == ["bns"]
