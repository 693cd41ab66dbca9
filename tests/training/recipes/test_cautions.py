from __future__ import annotations

import pytest

from bnsbench.flows.paths import VP, CondOT, Cosine, Path
from bnsbench.models.mixtures import MixtureModel
from bnsbench.training.problem import Problem
from bnsbench.training.recipes.bns import train_bns
from bnsbench.training.recipes.cautions import cautions_about, is_straight
from tests.training.toys import blobs, blobs_source, cross


def model(path: Path) -> MixtureModel:
    return MixtureModel(blobs(), path, (36,))


@pytest.mark.parametrize(("path", "straight"), [(CondOT(), True), (Cosine(), False), (VP(), False)], ids=str)
def test_only_a_path_of_means_is_straight(path: Path, straight: bool) -> None:
    assert is_straight(model(path)) == straight


@pytest.mark.parametrize("init", ["midpoint", "unipc", "euler", "acme/fancy[x=1]"])
def test_a_classic_start_is_told_on_paths_that_are_not_straight(init: str) -> None:
    for path in (VP(), Cosine()):
        (told,) = cautions_about(init, 1.0, model(path), 2.0)
        assert repr(init) in told
        assert repr(path.name) in told
        assert told.endswith(".")
    assert cautions_about(init, 1.0, model(CondOT()), 0.0) == []


def test_a_classic_start_is_told_in_few_dimensions_on_any_path() -> None:
    (told,) = cautions_about("midpoint", 1.0, cross(), 0.0)
    assert "these are 2 dimensions" in told


@pytest.mark.parametrize("init", ["", "greedy", "bns8.json"])
def test_of_other_starts_nothing_is_known(init: str) -> None:
    assert cautions_about(init, 5.0, model(VP()), 0.0) == []


@pytest.mark.parametrize(
    ("sigma_0", "guidance", "bad"),
    [
        (5.0, 0.0, True),
        (1.5, (0.0,), True),
        (1.0, 0.0, False),
        (0.5, 0.0, False),
        (5.0, 2.0, False),
        (5.0, (0.0, 2.0), False),
    ],
)
def test_preconditioning_for_guidance_is_told_where_there_is_none(sigma_0, guidance, bad: bool) -> None:
    told = cautions_about("euler", sigma_0, model(CondOT()), guidance)
    assert bool(told) == bad
    assert all(f"sigma_0 = {sigma_0:g}" in text for text in told)


def test_a_user_and_the_record_are_told() -> None:
    told: list[str] = []
    source = blobs_source(VP(), end=0.99)
    made = train_bns(Problem(source, notice=told.append), 2, init="midpoint", sigma_0=3.0, pairs=32, iterations=1)
    assert len(told) == 2
    assert made.training["notes"] == told
    quiet: list[str] = []
    made = train_bns(Problem(source, notice=quiet.append), 2, pairs=32, iterations=1)
    assert made.training["notes"] == quiet == []
