"""A table that several processes train together is the one that a single process trains, at the same cost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bnsbench.nonstationary.artefact import SolverArtefact
from bnsbench.process.ranks import team
from bnsbench.training.problem import Effort, Problem
from bnsbench.training.recipes.bns import train_bns
from bnsbench.training.recipes.learned import train_s4s
from tests.teams import together
from tests.training.toys import blobs_source, cross_source, smooth_features

pytestmark = pytest.mark.timeout(900)
"""Processes that wait for each other take long on a crowded machine."""

LIGHT = Effort(parts=(16,), validation=16, searched=0, starts=1, race=(), followed=8, probed=False, judged=16)
"""Of a training whose evaluations are few, since all processes meet at each of them."""
FEW: dict[str, Any] = {"pairs": 17, "iterations": 2}


def _problem(cache: Path | None = None, **more: Any) -> Problem:
    return Problem(cross_source(guidance=1.0, cache=cache, tolerance=1e-3), effort=LIGHT, **more)


def _features(states: Tensor) -> Tensor:
    return smooth_features()(states)


def _of_blobs(states: Tensor) -> Tensor:
    return smooth_features(36)(states)


TRAININGS: dict[str, Callable[[], SolverArtefact]] = {
    "log-mse": lambda: train_bns(_problem(), 3, **FEW),
    "mse forwards": lambda: train_bns(_problem(), 2, objective="mse", derivative="forward", **FEW),
    "trajectory by differences": lambda: train_bns(_problem(), 2, objective="trajectory", derivative="difference", **FEW),
    "features": lambda: train_bns(_problem(features=_features), 2, objective="features", **FEW),
    "soft": lambda: train_bns(_problem(), 2, objective="soft-log-mse", **FEW),
    "adam": lambda: train_bns(_problem(), 2, optimiser="adam", pairs=17, iterations=4),
    "adam on features": lambda: train_bns(
        _problem(features=_features), 2, optimiser="adam", objective="log-features", pairs=17, iterations=4
    ),
    "coefficients": lambda: train_s4s(_problem(), 2, rule="unipc", **FEW),
    "Frechet": lambda: train_bns(
        Problem(blobs_source(tolerance=1e-3), effort=LIGHT, shown=_of_blobs), 2, then="features", pairs=16, iterations=1
    ),
}


def _all(names: list[str]) -> dict[str, tuple[Tensor, Tensor, dict[str, Any], float]]:
    found = {}
    for name in names:
        artefact = TRAININGS[name]()
        record = artefact.training
        found[name] = artefact.solver.times.detach(), artefact.solver.rows.detach(), record["spent"], record["psnr"]
    return found


@pytest.fixture(scope="module")
def trained() -> list[dict[str, Any]]:
    """All trainings in both processes of a team."""
    found = together(_all, list(TRAININGS))
    for each in found:
        if isinstance(each, Exception):
            raise each
    return found


@pytest.mark.parametrize("name", TRAININGS)
def test_the_table_and_its_cost_are_those_of_one_process(trained, name) -> None:
    times, rows, spent, psnr = _all([name])[name]
    for found in trained:
        torch.testing.assert_close(found[name][0], times, rtol=0, atol=1e-6)
        torch.testing.assert_close(found[name][1], rows, rtol=0, atol=1e-6)
        # Of the batches of Adam, features of the truth are kept for other samples than in one process.
        same = [kind for kind in spent if kind != "features" or name != "adam on features"]
        assert [found[name][2][kind] for kind in same] == [spent[kind] for kind in same]
        assert found[name][3] == pytest.approx(psnr, abs=1e-6)
    assert torch.equal(trained[0][name][1], trained[1][name][1])


def _keeping(folder: Path) -> tuple[Tensor, int]:
    """Train with a cache and a checkpoint of each process's own; count the files that it has written."""
    own = folder / str(team().rank)
    own.mkdir()
    (own / "state.pt").write_bytes(b"no state")
    artefact = train_bns(_problem(own / "pairs", checkpoint=own / "state.pt"), 2, **FEW)
    return artefact.solver.rows.detach(), len([file for file in own.rglob("*") if file.is_file()])


def test_the_first_process_alone_writes_and_its_cache_decides(tmp_path) -> None:
    (rows, written), (same, beside) = together(_keeping, tmp_path)
    assert torch.equal(rows, same)
    assert written > 1
    assert beside == 1  # the state that was there before
    # What the first one knows of the truth serves all, though the second one's cache is empty.
    again = together(_again, tmp_path)
    assert all(torch.equal(each, rows) for each in again)


def _again(folder: Path) -> Tensor:
    own = folder / str(team().rank)
    return train_bns(_problem(own / "pairs"), 2, **FEW).solver.rows.detach()
