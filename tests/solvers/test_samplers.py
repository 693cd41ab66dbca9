from __future__ import annotations

import torch

from bnsbench.contract import PluginHost
from bnsbench.flows.fields import FunctionField
from bnsbench.flows.paths import CondOT
from bnsbench.nonstationary.table import NonStationarySolver
from bnsbench.solvers.samplers import sampler_of

PLUGIN = """
from bnsbench.contract.hookspecs import hookimpl
from bnsbench.contract.specs import SolverSpec

@hookimpl
def bnsbench_solvers():
    yield SolverSpec("halves", ":halves", kind="direct", parameters={"share": 0.5})

def halves(field, x0, nfe, share):
    return x0 + share * nfe
"""

FIELD = FunctionField(lambda t, x: -x, CondOT(), (0.0, 1.0))
X0 = torch.ones(3, 2, dtype=torch.float64)


def test_a_classic_becomes_its_table() -> None:
    """Euler's method on x' = -x multiplies by 1 - 1 / n at every step."""
    table = sampler_of(PluginHost.load().solver("euler"), 4, CondOT(), (0.0, 1.0))
    assert isinstance(table, NonStationarySolver)
    torch.testing.assert_close(table(FIELD, X0), X0 * 0.75**4)


def test_a_direct_solver_stays_what_it_is(tmp_path) -> None:
    (tmp_path / "mine.py").write_text(PLUGIN)
    host = PluginHost.load([tmp_path / "mine.py"])
    sampler = sampler_of(host.solver("halves[share=0.25]"), 4, CondOT(), (0.0, 1.0))
    assert not isinstance(sampler, NonStationarySolver)
    assert torch.equal(sampler(FIELD, X0), X0 + 1)
