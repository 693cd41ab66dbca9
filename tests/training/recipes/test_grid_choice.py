"""The search for grids to start from, by greedy tables."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bnsbench.flows.paths import EDM, VP, CondOT, Path
from bnsbench.solvers.grids import NamedGrid, time_grid
from bnsbench.training.distil import Choices
from bnsbench.training.optimisers.selection import psnr
from bnsbench.training.problem import Cost, Effort, Problem
from bnsbench.training.recipes import grid_choice
from bnsbench.training.recipes.grid_choice import COARSE, FAMILIES, TRIED, GreedySearch
from bnsbench.training.recipes.initial import greedy_run, greedy_table
from bnsbench.training.recipes.start import choose_start
from bnsbench.training.teaching import Teaching
from bnsbench.truth.mixed_source import MixedSource
from bnsbench.truth.pairs import Pairs, PairSource
from tests.training.toys import blobs_source, cross_source

N = 5


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Pairs:
    return blobs_source(cache=tmp_path_factory.mktemp("pairs")).trajectories("train", 16)


def search(pairs: Pairs, path: Path | None = None, interval: tuple[float, float] = (0.0, 1.0)) -> GreedySearch:
    return GreedySearch(pairs, path or CondOT(), interval, N, 2.0, Cost())


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The times of every greedy table that is made."""
    seen: list[Tensor] = []

    def run(times: Tensor, pairs: Pairs):
        seen.append(times)
        return greedy_run(times, pairs)

    monkeypatch.setattr(grid_choice, "greedy_run", run)
    return seen


def test_no_coarse_grid_has_a_better_greedy_table_than_the_best_one_found(pairs: Pairs) -> None:
    found = search(pairs)
    best, *_ = found.best(1)
    values = [psnr(greedy_table(found.times(grid), pairs), pairs, 2.0) for grid in (best, *COARSE)]
    assert values[0] == max(values)
    assert values[0] > max(values[1:])  # its options were improved
    assert values[0] > values[1 + COARSE.index(NamedGrid("kumaraswamy", (1.0, 1.0)))] + 1


def test_the_best_of_each_family_come_first(pairs: Pairs) -> None:
    found = search(pairs)
    grids = found.best(4)
    assert len(set(grids)) == 4
    assert {grid.family for grid in grids[:2]} == {"kumaraswamy", "logsnr"}
    values = [psnr(greedy_table(found.times(grid), pairs), pairs, 2.0) for grid in grids]
    assert values[0] > values[1]
    assert values[0] > values[2] >= values[3]


def test_every_grid_is_tried_once_and_counted(pairs: Pairs, tried: list[Tensor]) -> None:
    found = search(pairs)
    found.best(2)
    assert len({tuple(times.tolist()) for times in tried}) == len(tried)
    assert len(COARSE) + 2 * FAMILIES <= len(tried) <= TRIED
    assert found.cost.training == len(tried) * N * len(pairs)
    found.best(2)
    assert found.cost.training == len(tried) * N * len(pairs)


@pytest.mark.parametrize(("path", "end"), [(VP(), 0.999), (EDM(), 1.0)], ids=["vp", "edm"])
def test_grids_are_those_of_the_straight_path_at_equal_noise_levels(path: Path, end: float) -> None:
    found = search(blobs_source(path, end, tolerance=1e-3).trajectories("train", 16), path, (0.0, end))
    ends = CondOT().time(path.log_snr(torch.tensor([0.0, end], dtype=torch.float64))).tolist()
    for grid in (NamedGrid("kumaraswamy", (1.5, 2.0)), NamedGrid("logsnr", (-3.0, 3.0))):
        times = found.times(grid)
        assert times[[0, -1]].tolist() == [0.0, end]
        straight = time_grid(grid, CondOT(), (ends[0], ends[1]), N)
        torch.testing.assert_close(path.log_snr(times[1:-1]), CondOT().log_snr(straight[1:-1]), rtol=1e-7, atol=1e-7)


def test_grids_that_do_not_increase_between_the_ends_are_left_out() -> None:
    """An interval that begins late in log-SNR has none that ends before."""
    source = blobs_source(tolerance=1e-3)
    source.model.interval = (0.99, 0.999)
    found = search(source.trajectories("train", 16), interval=(0.99, 0.999))
    assert {grid.family for grid in found.best(3)} == {"kumaraswamy"}


@pytest.mark.parametrize("starts", [1, 2])
def test_what_is_found_races(starts: int, tmp_path) -> None:
    source, effort = blobs_source(cache=tmp_path), Effort(starts=starts)
    problem = Problem(source, effort=effort)
    followed = Teaching(problem, Cost()).pairs("train", effort.followed, along=True)
    start = choose_start(problem, N, None, Teaching(problem, Cost()), Choices(derivative="backward"))
    expected = search(followed.part(slice(effort.searched))).best(starts)
    assert set(start.tried or {}) == {f"greedy on {grid}" for grid in expected}


def test_of_several_scales_one_pair_each_is_searched_on(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    seen: list[int] = []

    def run(times: Tensor, pairs: Pairs):
        seen.append(len(pairs))
        return greedy_run(times, pairs)

    monkeypatch.setattr(grid_choice, "greedy_run", run)
    source = MixedSource.of(PairSource(cross_source().model, "cross", 0.0, tolerance=1e-3, cache=tmp_path), (0.0, 1.0, 2.0))
    taught = Teaching(Problem(source, effort=Effort(searched=2, followed=8)), Cost())
    choose_start(taught.problem, N, None, taught, Choices(derivative="backward"))
    assert set(seen) == {3}
