from __future__ import annotations

import pytest
import torch

from bnsbench.errors import NotApplicableError, UsageError
from bnsbench.flows.pairs import PairSource
from bnsbench.flows.paths import CondOT
from bnsbench.models.mixtures import digits_gmm
from bnsbench.nonstationary.tracing import trace
from bnsbench.solvers.deis import deis
from bnsbench.solvers.grids import time_grid
from bnsbench.solvers.runge_kutta import rk4
from bnsbench.training import learned
from bnsbench.training.problem import Problem
from bnsbench.training.selection import psnr
from bnsbench.training.table import Table


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> PairSource:
    return PairSource(digits_gmm(), "digits-gmm", tolerance=1e-4, cache=tmp_path_factory.mktemp("pairs"))


@pytest.mark.parametrize(
    ("train", "name", "gain"),
    [
        (learned.train_bst, "bst[order=2]", 1.0),
        (learned.train_dss, "dss", 8.0),
        (learned.train_ld3, "ld3[rule=unipc]", 1.0),
        (learned.train_s4s, "s4s[rule=unipc]", 5.0),
        (learned.train_gs, "gs[rule=dpm++3m]", 8.0),
    ],
)
def test_every_family_beats_the_rule_that_it_starts_from(source: PairSource, train, name: str, gain: float) -> None:
    artefact = train(Problem(source), 4)
    curve = artefact.training["curve"]
    assert artefact.name == name
    assert artefact.solver.nfe == 4
    assert artefact.training["psnr"] > curve[0]["psnr"] - 1e-9
    test = source.pairs("test", 128)
    start = {"bst[order=2]": "midpoint", "dss": "euler"}.get(name, "unipc")
    rule, steps = learned.rule_on_grid(Problem(source), 4, start)
    plain = psnr(rule(time_grid("uniform", CondOT(), (0.0, 1.0), steps)), test, 2.0)
    assert psnr(Table.of(artefact.solver), test, 2.0) > plain + gain


def test_a_rule_on_a_grid_is_its_trace(source: PairSource) -> None:
    for name, function, steps in (("rk4", rk4, 2), ("deis", deis, 8)):
        rule, found = learned.rule_on_grid(Problem(source), 8, name)
        assert found == steps
        times = time_grid("quadratic", CondOT(), (0.0, 1.0), steps)
        expected = Table.of(trace(lambda field, x0, f=function: f(field, x0, 8, grid="quadratic"), CondOT()))
        torch.testing.assert_close(rule(times).times, expected.times)
        torch.testing.assert_close(rule(times).rows, expected.rows)


def test_rules_of_plugins_are_reached_through_the_problem(source: PairSource) -> None:
    asked: list[str] = []

    def solver(name: str):
        asked.append(name)
        return deis

    learned.rule_on_grid(Problem(source, solver=solver), 4, "acme/fancy")
    assert asked == ["acme/fancy"]


def test_what_cannot_be_learned_from_is_refused(source: PairSource) -> None:
    with pytest.raises(UsageError, match="no built-in solver 'magic'"):
        learned.train_ld3(Problem(source), 4, rule="magic")
    with pytest.raises(NotApplicableError, match="takes no time grid at 7 NFE"):
        learned.rule_on_grid(Problem(source), 7, "rk4")
    with pytest.raises(NotApplicableError, match="multiple of 2"):
        learned.train_bst(Problem(source), 5)
