from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bnsbench.contract import PluginHost
from bnsbench.flows.network_state import NetworkState
from bnsbench.models.mixtures import ring8
from bnsbench.models.shipped import shipped_solver
from bnsbench.models.shipped_files import SOLVERS, shipped_file
from bnsbench.nonstationary.artefact import SolverArtefact
from bnsbench.nonstationary.tracing import trace
from bnsbench.solvers.runge_kutta import midpoint


@pytest.fixture
def artefact() -> SolverArtefact:
    model = ring8()
    table = trace(lambda field, x0: midpoint(field, x0, 4), model.path)
    return SolverArtefact(table, model.path, model.interval, "ring8", model.fingerprint(), 2.0, "bns", {"version": "3"})


def test_a_shipped_solver_is_found_and_says_so(artefact, tmp_path: Path):
    file = shipped_file("ring8[path=condot]", 2.0, "bns", 4, tmp_path)
    assert file.name == "ring8-path=condot_w2_bns_nfe4.json"
    artefact.save(file)
    found = shipped_solver("ring8[path=condot]", ring8(), 2.0, "bns", 4, "3", tmp_path)
    assert found is not None
    assert found.solver.fingerprint() == artefact.solver.fingerprint()
    assert found.training == {"version": "3", "shipped": True}


def test_an_older_file_was_trained_in_single_precision_and_a_newer_one_says_it(artefact, tmp_path: Path) -> None:
    for network, dtype in ((NetworkState(), "float32"), (NetworkState((2,), "float64"), "float64")):
        replace(artefact, network=network).save(shipped_file("ring8", 2.0, "bns", 4, tmp_path))
        found = shipped_solver("ring8", ring8(), 2.0, "bns", 4, "3", tmp_path)
        assert found is not None
        assert (found.network.shape, found.network.dtype) == ((2,), dtype)


def test_all_that_is_shipped_is_of_the_versions_that_are_here() -> None:
    host = PluginHost.load()
    for file in sorted(SOLVERS.glob("*.json")):
        artefact = SolverArtefact.load(file)
        assert artefact.training["version"] == host.solver(artefact.name).spec.version, file.name


def test_only_for_the_very_weights_version_and_setting(artefact, tmp_path: Path):
    artefact.save(shipped_file("ring8", 2.0, "bns", 4, tmp_path))
    assert shipped_solver("ring8", ring8(), 2.0, "bns", 4, "3", tmp_path) is not None
    assert shipped_solver("ring8", ring8(), 0.0, "bns", 4, "3", tmp_path) is None
    assert shipped_solver("ring8", ring8(), 2.0, "bns", 6, "3", tmp_path) is None
    assert shipped_solver("ring8", ring8(), 2.0, "bns", 4, "4", tmp_path) is None
    replace(artefact, fingerprint="0" * 64).save(shipped_file("ring8", 2.0, "bns", 4, tmp_path))
    assert shipped_solver("ring8", ring8(), 2.0, "bns", 4, "3", tmp_path) is None
