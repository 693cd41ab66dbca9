from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bnsbench.errors import BnsbenchError, UsageError
from bnsbench.flows.model import Model
from bnsbench.flows.pairs import PairSource
from bnsbench.flows.paths import CondOT
from bnsbench.models.mixtures import digits_gmm, ring8
from bnsbench.nonstationary.artefact import SolverArtefact
from bnsbench.nonstationary.tracing import trace
from bnsbench.solvers.runge_kutta import midpoint
from bnsbench.training.bns import rung_below, train_bns
from bnsbench.training.problem import Problem, TrainingStatus
from bnsbench.training.selection import psnr
from bnsbench.training.table import Table
from tests.flows.toy import GaussianModel


def gaussian(**more) -> PairSource:
    return PairSource(GaussianModel(scale=0.3, dim=4), "gaussian", guidance=1.0, tolerance=1e-9, **more)


def test_the_default_recipe_beats_the_midpoint_rule_far_on_unseen_noise() -> None:
    source = PairSource(digits_gmm(), "digits-gmm", guidance=2.0, tolerance=1e-4)
    artefact = train_bns(Problem(source), 4)
    test = source.pairs("test", 128)
    rule = Table.of(trace(lambda field, x0: midpoint(field, x0, 4), source.model.path))
    found = psnr(Table.of(artefact.solver), test, 2.0)
    assert found > psnr(rule, test, 2.0) + 8
    assert artefact.training["psnr"] == pytest.approx(found, abs=2.0)
    assert set(artefact.training["forwards"]) == {"teacher", "training", "validation"}
    assert artefact.training["forwards"]["training"] % 2 == 0  # guided: two network forwards per evaluation
    assert artefact.solver.nfe == 4
    assert artefact.name == "bns"


def test_training_is_reproducible_and_the_artefact_survives_the_file(tmp_path: Path) -> None:
    first, second = (train_bns(Problem(gaussian()), 2, iterations=3) for _ in range(2))
    assert first.solver.fingerprint() == second.solver.fingerprint()
    first.save(tmp_path / "bns.json")
    assert SolverArtefact.load(tmp_path / "bns.json").solver.fingerprint() == first.solver.fingerprint()


def test_a_rung_starts_from_the_grid_below() -> None:
    asked: list[int] = []
    source = gaussian()

    def previous(nfe: int) -> SolverArtefact:
        asked.append(nfe)
        return train_bns(Problem(source), nfe, iterations=2)

    artefact = train_bns(Problem(source, previous=previous), 5, iterations=2)
    assert asked == [4]
    assert artefact.training["start"] == "bns at 4 NFE"


def test_the_ladder() -> None:
    assert [rung_below(n) for n in (1, 4, 5, 6, 7, 8, 10, 12, 16, 18, 40)] == [None, None, 4, 4, 6, 6, 8, 8, 12, 16, 32]


def test_progress_is_reported_with_the_best_so_far() -> None:
    told: list[TrainingStatus] = []
    train_bns(Problem(gaussian(), progress=told.append), 2, iterations=4)
    assert [status.iteration for status in told] == list(range(len(told)))
    best = [status.psnr for status in told]
    assert best == sorted(best)


def test_the_paper_recipe_improves_on_its_start() -> None:
    source = PairSource(ring8(), "ring8", tolerance=1e-6)
    artefact = train_bns(Problem(source), 4, recipe="paper", pairs=80, iterations=200)
    curve = artefact.training["curve"]
    assert curve[-1]["psnr"] > curve[0]["psnr"] + 0.5
    assert artefact.training["learning_rate"] == 5e-4
    assert artefact.name == "bns[recipe=paper]"
    assert artefact.training["start"].split()[0] in {"euler", "midpoint"}


def test_an_interrupted_paper_recipe_goes_on_to_the_same_end(tmp_path: Path) -> None:
    source = PairSource(ring8(), "ring8", tolerance=1e-4, cache=tmp_path)
    whole = train_bns(Problem(source), 2, recipe="paper", pairs=80, iterations=600)

    def stop(status: TrainingStatus) -> None:
        if status.iteration == 500:
            raise KeyboardInterrupt

    kept = tmp_path / "training" / "state.pt"
    with pytest.raises(KeyboardInterrupt):
        train_bns(Problem(source, progress=stop, checkpoint=kept), 2, recipe="paper", pairs=80, iterations=600)
    assert kept.exists()
    told: list[int] = []
    problem = Problem(source, progress=lambda status: told.append(status.iteration), checkpoint=kept)
    resumed = train_bns(problem, 2, recipe="paper", pairs=80, iterations=600)
    assert told == [0, 500, 600]
    assert resumed.solver.fingerprint() == whole.solver.fingerprint()
    assert resumed.training["curve"] == whole.training["curve"]
    assert resumed.training["forwards"] == whole.training["forwards"]
    assert not kept.exists()


def test_unknown_recipes_are_refused() -> None:
    with pytest.raises(UsageError, match="no BNS recipe 'magic'"):
        train_bns(Problem(gaussian()), 4, recipe="magic")


class Broken(Model):
    path = CondOT()
    shape = (2,)
    dtype = torch.float64

    def predict(self, t, x, condition):
        return x * torch.nan

    def fingerprint(self) -> str:
        return "broken"


def test_a_field_without_finite_values_ends_with_a_sentence() -> None:
    with pytest.raises(BnsbenchError, match=r"finite|tolerance"):
        train_bns(Problem(PairSource(Broken(), "broken", tolerance=1e-3)), 2)
