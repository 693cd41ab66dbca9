from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bnsbench.errors import NotApplicableError, UsageError
from bnsbench.flows.paths import CondOT
from bnsbench.models.digits.model import digits_ot
from bnsbench.models.mixtures import MixtureModel
from bnsbench.nonstationary.artefact import SolverArtefact
from bnsbench.training.budget import Budget
from bnsbench.training.moments import FrechetDistance
from bnsbench.training.optimisers.rollout import run
from bnsbench.training.optimisers.selection import psnr
from bnsbench.training.problem import Effort, Problem, TrainingStatus
from bnsbench.training.recipes.bns import train_bns
from bnsbench.training.trainer import features_of
from bnsbench.truth.mixed_source import MixedSource
from bnsbench.truth.pairs import PairSource
from tests.training.toys import SMALL, blobs, blobs_source, cross_source, interrupting


def features(x: Tensor) -> Tensor:
    """A dozen mixtures of the blobs' coordinates, and their squares."""
    mixed = x.flatten(1).double() @ torch.randn(36, 12, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return torch.cat([mixed, mixed.square() / 6], dim=1)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> PairSource:
    return blobs_source(cache=tmp_path_factory.mktemp("blobs"))


def problem(source: PairSource, **more: Any) -> Problem:
    return Problem(source, effort=SMALL, shown=features, **more)


@pytest.fixture(scope="module")
def first(source: PairSource) -> SolverArtefact:
    return train_bns(problem(source), 3)


def then(source: PairSource, first: SolverArtefact, pairs: int = 0, **more: Any) -> SolverArtefact:
    def variant(nfe: int, options: Mapping[str, Any]) -> SolverArtefact:
        assert (nfe, dict(options)) == (3, {"then": ""})
        return first

    return train_bns(problem(source, variant=variant, **more), 3, then="features", pairs=pairs)


def test_unseen_samples_look_more_like_the_truth(tmp_path: Path) -> None:
    """In the features that it goes by, and in pixels as well, which it does not look at."""
    model = digits_ot()
    digits = PairSource(model, "digits-ot", tolerance=1e-4, cache=tmp_path)
    shown = features_of(model, shown=True)
    assert shown is not None
    told: list[str] = []
    given = Problem(digits, effort=SMALL, shown=shown, notice=told.append)
    first = train_bns(given, 3)
    made = train_bns(replace(given, variant=lambda nfe, options: first), 3, then="features")
    test = digits.pairs("test", 500)
    for look in (shown, lambda x: x.clamp(-1.0, 1.0).flatten(1)):
        distance = FrechetDistance(look(test.x1))
        ends = [run(each.solver, test.field, test.x0).end.reshape(test.x1.shape) for each in (first, made)]
        before, after = (float(distance(look(end))) for end in ends)
        assert after < 0.7 * before
    assert psnr(made.solver, test, 2.0) > psnr(first.solver, test, 2.0) - 1.0
    # The record says both stages, and both numbers.
    record = made.training
    assert (made.name, record["then"], record["recipe"], record["columns"]) == ("bns", "features", "default", "guided")
    assert record["start"]["name"] == "bns of fidelity"
    assert record["start"]["psnr"] == first.training["psnr"]
    assert record["frechet"][1] < record["frechet"][0]
    assert record["fidelity"][1] == record["psnr"]
    assert record["pairs"] == record["validation_pairs"] == 256
    assert told[-1].startswith("The second stage took the Frechet distance of features from ")


def test_all_of_it_is_counted(tmp_path: Path) -> None:
    """By a network and an extractor that count for themselves."""
    seen: dict[str, int] = {"network": 0, "extractor": 0}

    class Counted(MixtureModel):
        def predict(self, t: Tensor, x: Tensor, condition: Tensor | None) -> Tensor:
            seen["network"] += len(x)
            return super().predict(t, x, condition)

    def extract(x: Tensor) -> Tensor:
        seen["extractor"] += len(x)
        return features(x)

    source = PairSource(Counted(blobs(), CondOT(), (36,)), "blobs", tolerance=1e-5, cache=tmp_path)
    given = replace(problem(source), shown=extract)
    first = train_bns(given, 3, pairs=40, iterations=1)
    own = dict.fromkeys(seen, 0)
    seen.update(own)
    made = train_bns(replace(given, variant=lambda nfe, options: first), 3, then="features", pairs=40)
    record = made.training
    assert record["own_forwards"]["features"] == record["forwards"]["features"] == seen["extractor"]
    assert sum(record["own_forwards"].values()) - seen["extractor"] >= seen["network"]
    for purpose in ("training", "validation"):
        assert record["forwards"][purpose] == first.training["forwards"][purpose] + record["own_forwards"][purpose]
    assert record["own_forwards"]["training"] + record["own_forwards"]["validation"] <= seen["network"]


def test_wherever_it_is_interrupted_it_comes_to_the_same_end(
    source: PairSource, first: SolverArtefact, tmp_path: Path
) -> None:
    told: list[TrainingStatus] = []
    file = tmp_path / "state.pt"
    whole = then(source, first, pairs=64, progress=told.append)
    assert [status.iteration for status in told] == list(range(len(told)))
    assert {status.stage for status in told} == {"features"}
    assert len(told) > 2
    for stop in range(len(told)):
        seen: list[TrainingStatus] = []
        with pytest.raises(KeyboardInterrupt):
            then(source, first, pairs=64, progress=interrupting(seen, stop), checkpoint=file)
        again = then(source, first, pairs=64, checkpoint=file)
        assert again.solver.fingerprint() == whole.solver.fingerprint()
        assert again.training["forwards"] == whole.training["forwards"]
        assert again.training["curve"] == whole.training["curve"]
        assert not file.exists()


def test_a_first_stage_that_nobody_keeps_is_trained(source: PairSource) -> None:
    made = train_bns(problem(source), 3, then="features", pairs=40, iterations=1)
    first = train_bns(problem(source), 3, pairs=40, iterations=1)
    assert made.training["start"]["table"] == first.solver.to_dict()


def test_it_goes_on_from_split_columns() -> None:
    source = cross_source(guidance=1.0)
    given = Problem(source, effort=SMALL, shown=lambda x: torch.cat([x, x.square()], dim=1))
    made = train_bns(given, 2, then="features", columns="split", pairs=32, iterations=1)
    assert (made.solver.columns, made.training["columns"], made.training["then"]) == (2, "split", "features")
    assert made.training["loss"] <= made.training["curve"][0]["loss"] + 1e-6


@pytest.mark.parametrize("forwards", [3_000, 30_000, 100_000])
def test_a_budget_is_kept_and_too_little_of_it_leaves_the_stage_out(source: PairSource, forwards: int) -> None:
    told: list[str] = []
    effort = Effort(budget=Budget(forwards=forwards))
    given = Problem(source, effort=effort, shown=features, notice=told.append)
    record = train_bns(given, 3, then="features").training
    spent = record["budget"]["spent"]["forwards"]
    assert sum(record["forwards"].values()) == spent <= forwards
    assert record["pairs"] == {3_000: 0, 30_000: 64, 100_000: 256}[forwards]
    assert any("was left out: the budget of 3,000 forwards has no room" in text for text in told) == (forwards == 3_000)


def test_what_it_cannot_serve_is_refused(source: PairSource) -> None:
    with pytest.raises(UsageError, match="no second stage 'magic'; choose 'features', or leave it out"):
        train_bns(problem(source), 3, then="magic")
    with pytest.raises(
        NotApplicableError, match="second stage 'features' needs a feature extractor, and this model has none"
    ):
        train_bns(Problem(source, effort=SMALL), 3, then="features")
    mixed = MixedSource.of(cross_source(), (0.0, 1.0))
    with pytest.raises(NotApplicableError, match="of one guidance scale with their truth: train a table for each"):
        train_bns(Problem(mixed, effort=SMALL, shown=features), 3, then="features")
