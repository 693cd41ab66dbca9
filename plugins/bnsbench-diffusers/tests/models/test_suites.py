"""The suites are in order: they can be planned without any of their checkpoints."""

from __future__ import annotations

import pytest

from bnsbench.contract import PluginHost
from bnsbench.suite.estimate import estimate
from bnsbench.suite.plan import make_plan
from bnsbench.suite.suitefile import find_suite

from .published import PUBLISHED, measured

SUITES = {"imagenet64": 50000, "imagenet256-dit": 50000, "text-to-image": 30000, "text-to-audio": 4000}


def test_all_are_offered():
    assert {suite.name for suite in PluginHost.load().suites if suite.provider == "diffusers"} == set(SUITES)


@pytest.mark.parametrize(("name", "samples"), SUITES.items())
def test_a_suite_can_be_planned(name, samples):
    host = PluginHost.load()
    cells = make_plan(find_suite(name, host), host)
    assert {cell.samples for cell in cells} == {samples}
    assert {cell.nfe for cell in cells} == {4, 6, 8, 10, 12, 16, 20}
    assert [cell.skip for cell in cells if cell.skip] == []
    assert any(cell.trained for cell in cells)


def test_the_cost_of_a_suite_can_be_estimated():
    host = PluginHost.load()
    for name in SUITES:
        hours = estimate(make_plan(find_suite(name, host), host)).hours
        assert hours is not None, name
        assert hours > 1, name


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of diffusers at its own imports
@pytest.mark.parametrize("name", PUBLISHED)
def test_networks_have_the_operations_that_the_suites_state(name):
    host = PluginHost.load()
    stated = {entry.name: entry.gflops for suite in SUITES for entry in find_suite(suite, host).models}
    (gflops,) = [value for model, value in stated.items() if f"path={name}" in model]
    parameters, counted = measured(name)
    assert parameters == pytest.approx(PUBLISHED[name][1], rel=2e-3)
    assert gflops == pytest.approx(counted, rel=5e-3)
