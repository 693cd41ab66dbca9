from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bnsbench.contract import PluginHost
from bnsbench.models import shipping
from bnsbench.models.shipped import Shipment, shipped_solver
from bnsbench.models.shipped_files import SOLVERS
from bnsbench.models.shipping import ship
from bnsbench.nonstationary.artefact import SolverArtefact
from bnsbench.training.problem import Effort, TrainingStatus


@pytest.fixture
def host() -> PluginHost:
    return PluginHost.load([Path(__file__).parents[1] / "suite" / "tiny_plugin.py"])


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(shipping, "effort_in", lambda shape: Effort(validation=32))
    monkeypatch.setattr(shipping, "TUNED", "rk4[grid=best]")
    monkeypatch.setattr(shipping, "CLASSICS", ("ab2[grid=best]",))


def test_solvers_are_trained_once_and_found_by_the_package(host, tmp_path):
    told: list[TrainingStatus] = []

    def everything():
        shipment = Shipment("tiny", 1.0, (3, 4), pairs=16, tolerance=1e-3)
        return list(ship(shipment, host, tmp_path / "solvers", tmp_path / "cache", lambda text: None, told.append))

    files = everything()
    # A rule is left out where it cannot spend the budget.
    assert [file.name for file in files] == [
        "tiny_w1_rk4-grid=best_nfe4.json",
        *(f"tiny_w1_{name}_nfe{nfe}.json" for name in ("ab2-grid=best", "bns") for nfe in (3, 4)),
    ]
    assert sorted(tmp_path.glob("solvers/*")) == sorted(files)
    version = host.solver("bns").spec.version
    found = shipped_solver("tiny", host.model("tiny").make(), 1.0, "bns", 4, version, tmp_path / "solvers")
    assert found is not None
    assert (found.name, found.solver.nfe, found.training["pairs"]) == ("bns", 4, 16)
    assert told
    told.clear()
    assert everything() == files
    assert told == []
    # What was made by another version of its solver is made again.
    old = replace(found, training={**found.training, "version": "0"})
    old.save(files[-1])
    assert everything() == files
    assert told
    assert SolverArtefact.load(files[-1]).training["version"] == version


def test_every_shipment_is_of_a_model_that_there_is(host):
    digits = {"digits-gmm", "digits-gmm[path=vp]", "digits-ot", "digits-cos", "digits-vp"}
    others = {"fashion-ot", "fashion-vp", "scenes", "speech", "speech[task=infill]"}
    assert {shipment.model for shipment in shipping.SHIPMENTS} == digits | others
    for shipment in shipping.SHIPMENTS:
        assert host.model(shipment.model).spec.guidable
        assert len(set(shipment.nfe)) == len(shipment.nfe)


def test_shipped_classics_say_on_which_grid_they_are():
    for file in sorted(SOLVERS.glob("*.json")):
        record = SolverArtefact.load(file).training
        if "_bns_" not in file.name:
            assert record["grid"], file.name
            assert sum(record["forwards"].values()) > 0
