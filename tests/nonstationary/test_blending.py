"""Tables between two: the parents at the ends, the numbers in between, and the same table whatever path it is told on."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from bnsbench.errors import UsageError
from bnsbench.flows.network_state import NetworkState
from bnsbench.flows.paths import VP, CondOT, Cosine, Path
from bnsbench.nonstationary.artefact import SolverArtefact
from bnsbench.nonstationary.blending import blend
from bnsbench.nonstationary.change_of_path import on_path
from bnsbench.nonstationary.table import NonStationarySolver
from tests.training.toys import random_split_table, random_table

STATE = NetworkState((2,), "float32", "", ())


def artefact(guidance: float, seed: int, **changes: Any) -> SolverArtefact:
    record = {"forwards": {"teacher": 10, "training": 100 + seed}}
    parts = {"model": "toy", "fingerprint": "ab", "name": "bns", "training": record, "network": STATE, **changes}
    table = parts.pop("solver", None) or random_table(4, seed)
    return SolverArtefact(table, parts.pop("path", CondOT()), (0.0, 1.0), guidance=guidance, **parts)


def pair(path: Path) -> tuple[SolverArtefact, SolverArtefact]:
    return artefact(0.0, 1, path=path), artefact(6.0, 2, path=path)


def distance(one: NonStationarySolver, other: NonStationarySolver) -> float:
    return max(float((one.times - other.times).abs().max()), float((one.rows - other.rows).abs().max()))


@pytest.mark.parametrize("path", [CondOT(), Cosine()])
def test_at_the_ends_it_is_a_parent(path: Path) -> None:
    first, second = pair(path)
    for w, parent in ((0.0, first), (6.0, second)):
        for found in (blend(first, second, w), blend(second, first, w)):
            assert distance(found.solver, parent.solver) < 1e-9


def test_between_them_numbers_are_linear_in_the_logarithm() -> None:
    first, second = artefact(0.0, 1), artefact(3.0, 2)
    found = blend(first, second, 1.0)  # log 2 is half of log 4
    assert torch.allclose(found.solver.times, (first.solver.times + second.solver.times) / 2)
    assert torch.allclose(found.solver.rows, (first.solver.rows + second.solver.rows) / 2)
    assert found.guidance == 1.0
    assert [(each["guidance"], each["share"]) for each in found.training["parents"]] == [(0.0, 0.5), (3.0, 0.5)]
    assert found.training["forwards"] == {"teacher": 20, "training": 203}
    assert math.isclose(blend(first, second, 0.5).training["parents"][1]["share"], math.log(1.5) / math.log(4))


def test_the_path_on_which_the_parents_are_told_does_not_matter() -> None:
    first, second = pair(CondOT())
    there = (replace(each, solver=on_path(each.solver, CondOT(), Cosine()), path=Cosine()) for each in (first, second))
    told_there = blend(next(there), next(there), 1.0).solver
    assert distance(on_path(told_there, Cosine(), CondOT()), blend(first, second, 1.0).solver) < 1e-9


def test_it_says_of_the_network_what_both_parents_say() -> None:
    other = replace(STATE, dtype="bfloat16")
    assert blend(artefact(0.0, 1), artefact(2.0, 2), 1.0).network == STATE
    assert blend(artefact(0.0, 1), artefact(2.0, 2, network=other), 1.0).network == replace(STATE, dtype=None)


@pytest.mark.parametrize(
    ("second", "guidance", "sentence"),
    [
        (artefact(2.0, 2), 3.0, "The guidance 3 does not lie between those of the two tables, 0 and 2"),
        (artefact(2.0, 2), float("nan"), "does not lie between"),
        (artefact(0.0, 2), 0.0, "does not lie between"),
        (artefact(2.0, 2, fingerprint="cd"), 1.0, "for other models"),
        (artefact(2.0, 2, path=VP()), 1.0, "for other paths"),
        (artefact(2.0, 2, solver=random_table(5, 2)), 1.0, "for other NFE"),
        (replace(artefact(0.0, 2), guidance=(0.0, 2.0)), 1.0, "for one guidance scale above -1, not for 0, 2"),
        (artefact(-1.0, 2), -0.5, "above -1, not for -1"),
    ],
)
def test_what_cannot_be_blended_is_refused(second: SolverArtefact, guidance: float, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        blend(artefact(0.0, 1), second, guidance)


def test_split_columns_are_refused() -> None:
    table = random_split_table(4, 1)
    split = artefact(float(table.guidance or 0.0), 1, solver=table)
    with pytest.raises(UsageError, match="split columns"):
        blend(artefact(0.0, 1), split, 0.5)
