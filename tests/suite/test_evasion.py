"""No solver has more evaluations than its record says: every way around the counter fails the cell."""

from __future__ import annotations

from pathlib import Path

import pytest

from bnsbench.contract import PluginHost
from bnsbench.suite.cells import run_cell
from bnsbench.suite.context import CellContext, Job
from bnsbench.suite.plan import make_plan
from bnsbench.suite.store import ResultStore
from bnsbench.suite.suitefile import Suite
from tests.suite.evading_plugin import WAYS

FILES = [Path(__file__).parent / name for name in ("tiny_plugin.py", "evading_plugin.py")]

SUITE = {
    "name": "small",
    "samples": 8,
    "batch": 4,
    "nfe": [4],
    "solvers": [*WAYS, "steps", "live"],
    "models": [{"name": "plain", "tolerance": 1e-4}],
}


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evasion")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BNSBENCH_PLUGINS", "")
        host = PluginHost.load(FILES)
        job = Job(host, ResultStore(folder / "small"), folder / "cache", batch=4, threads=1, previews=False)
        context = CellContext(job)
        cells = make_plan(Suite.parse(SUITE, "this test"), host)
        return {cell.solver.name: run_cell(cell, context) for cell in cells}


@pytest.mark.parametrize("way", WAYS)
def test_it_fails_the_cell(records, way):
    assert records[way].status == "failed", records[way]
    assert not records[way].metrics
    assert "overspent" in records[way].reason or "plain tensors" in records[way].reason


def test_honest_solvers_are_what_they_were(records):
    assert records["steps"].status == records["live"].status == "ok"
    assert records["steps"].metrics == records["live"].metrics
