"""A plugin's model brings its own features and judge, and whatever works with embedded models works with it."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
import torch

from bnsbench.cli import main
from bnsbench.contract import PluginHost
from bnsbench.errors import UsageError
from bnsbench.metrics.base import SampleSet
from bnsbench.metrics.distribution import frechet_distance
from bnsbench.metrics.extractors import to_uint8
from bnsbench.solvers.runge_kutta import euler, heun
from bnsbench.testing import check_model
from bnsbench.training import trainer
from bnsbench.training.problem import Effort, Problem
from bnsbench.training.trainer import make_problem, train_solver
from bnsbench.truth.pairs import PairSource

PLUGIN = Path(__file__).parent / "seeing_plugin.py"


@pytest.fixture(scope="module")
def plugged() -> PluginHost:
    return PluginHost.load([PLUGIN])


@pytest.fixture(scope="module")
def samples(plugged) -> SampleSet:
    """Samples of Euler's rule beside those of many steps of Heun's."""
    model = plugged.model("blobs").make()
    source = PairSource(model, "blobs")
    field, x0 = source.field(torch.arange(64)), source.initial("test", torch.arange(64))
    return SampleSet(euler(field, x0, 3), heun(field, x0, 32), field.condition, model.data_range, model)


def test_it_passes_the_checks(plugged):
    report = check_model("blobs", host=plugged)
    report.raise_if_failed()
    assert {result.status for result in report.results if result.name in ("features", "differentiable", "judge")} == {
        "passed"
    }


@pytest.mark.parametrize("name", ["fid", "fid-gt", "kid", "precision", "recall"])
def test_distances_use_its_features(plugged, samples, name):
    found = plugged.metric(f"{name}[minimum=8]").make()(samples)
    own = samples.model.features()
    assert (found.details["width"], found.info["extractor"]) == (3, own.fingerprint())
    if name == "fid-gt":
        seen = [own.of_samples(to_uint8(part).float() / 127.5 - 1) for part in (samples.latents, samples.truth_latents)]
        assert found.value == pytest.approx(frechet_distance(*seen), rel=1e-9)


def test_accuracy_asks_its_judge(plugged, samples):
    found = plugged.metric("accuracy").make()(samples)
    assert found.info["classifier"] == samples.model.judge().fingerprint()
    assert 0.8 < found.details["truth"] <= 1.0


@pytest.mark.parametrize(
    "solver", ["bns[objective=features,pairs=32,iterations=6]", "ld3[rule=ab2,objective=own,pairs=32,iterations=4]"]
)
def test_solvers_are_trained_by_its_features(plugged, monkeypatch, tmp_path, solver):
    monkeypatch.setattr(trainer, "Problem", partial(Problem, effort=Effort(validation=32)))
    source = PairSource(plugged.model("blobs").make(), "blobs", tolerance=1e-4, cache=tmp_path)
    problem = make_problem(
        source, plugged, previous=lambda nfe: pytest.fail(str(nfe)), progress=lambda status: None, checkpoint=tmp_path / "c"
    )
    trained = train_solver(plugged.solver(solver), problem, 3)
    assert trained.training["forwards"]["features"] > 0
    own, pairs = source.model.features(), source.pairs("test", 64)
    assert own is not None
    field = source.field(torch.arange(64))

    def error(ends: torch.Tensor) -> float:
        return float((own.of_samples(ends.float()) - own.of_samples(pairs.x1.float())).square().mean())

    with torch.no_grad():
        assert error(trained.solver(field, pairs.x0)) < 0.5 * error(euler(field, pairs.x0, 3))


def test_a_run_judges_and_trains_by_what_it_brings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ("run", "quick", "--plugin", str(PLUGIN), "--model", "blobs", "--nfe", "4", "--samples", "48", "--quiet")
    metrics = ("--metric", "fid[minimum=8]", "--metric", "accuracy", "--metric", "alignment")
    with pytest.raises(SystemExit) as done:
        main((*words, *metrics, "--solver", "midpoint", "--guidance", "0", "--executor", "local", "--results", "out"))
    assert not done.value.code
    [record] = [json.loads(file.read_text()) for file in (tmp_path / "out" / "quick" / "cells").rglob("*.json")]
    assert record["metrics"]["fid[minimum=8]"]["details"]["width"] == 3
    assert record["metrics"]["accuracy"]["value"] > 0.8
    assert (
        record["metrics"]["alignment"]["reason"]
        == "AttributeAlignment needs a judge of a caption, and Blobs brings one of a class."
    )


def test_details_that_a_model_does_not_know_are_named(plugged):
    model = plugged.model("blobs").make()
    assert model.describe("second") == 1
    with pytest.raises(UsageError, match="The model cannot be told a voice: it is told by a text alone"):
        model.describe("second", voice=2)
