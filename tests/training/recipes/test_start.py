"""The race of starts, whose winner a training goes on from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bnsbench.flows.paths import EDM, VP, CondOT, Path
from bnsbench.nonstationary.table import NonStationarySolver
from bnsbench.training.distil import Choices
from bnsbench.training.optimisers.gauss_newton import GaussNewton, Iterate
from bnsbench.training.optimisers.selection import psnr
from bnsbench.training.problem import Cost, Problem
from bnsbench.training.recipes import start as racing
from bnsbench.training.recipes.initial import START_GRIDS, canonical_grids, greedy_table, transfer_times
from bnsbench.training.recipes.start import FOLLOWED, Attempt, Start, choose_start
from bnsbench.training.teaching import Teaching
from bnsbench.truth.mixed_source import MixedSource
from bnsbench.truth.noise import Split
from bnsbench.truth.pairs import Pairs, PairSource
from tests.flows.toy import GaussianModel
from tests.training.toys import SMALL, blobs_source, cross_source, plain_states, random_table, uniform

GREEDY = [f"greedy on {name}" for name in START_GRIDS]


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> PairSource:
    return blobs_source(cache=tmp_path_factory.mktemp("wide"))


BACKWARD = Choices(derivative="backward")


def teaching(source: PairSource | MixedSource) -> Teaching:
    return Teaching(Problem(source, effort=SMALL), Cost())


def choose(taught: Teaching, nfe: int, below: NonStationarySolver | None = None, **choices: Any) -> Start:
    return choose_start(taught.problem, nfe, below, taught, Choices(**{"derivative": "backward", **choices}))


def table_below(source: PairSource, nfe: int = 4) -> NonStationarySolver:
    """A table of fewer evaluations that has learned a little."""
    return choose(teaching(source), nfe).table


def test_the_best_start_is_the_one_whose_descent_is_best(wide: PairSource) -> None:
    taught = teaching(wide)
    found = choose(taught, 3)
    assert sorted(found.tried or {}) == sorted(GREEDY)
    assert found.rivals == ()
    assert found.tried is not None
    tried = found.tried
    assert found.name == max(tried, key=lambda name: tried[name]) != GREEDY[0]
    validation = taught.pairs("validation", SMALL.validation)
    assert found.tried[found.name] == pytest.approx(psnr(found.table, validation, 2.0), abs=1e-9)
    assert min(found.tried.values()) < found.tried[found.name] - 1
    # It has descended: its rows are better than the greedy ones on its grid.
    times = canonical_grids(CondOT(), (0.0, 1.0), 3)[found.name.removeprefix("greedy on ")]
    followed = taught.problem.source.trajectories("train", FOLLOWED)
    assert found.tried[found.name] > psnr(greedy_table(times, followed), validation, 2.0) + 1
    assert found.record() == {"name": found.name, "table": found.table.to_dict(), "tried": found.tried}


def test_what_the_rung_below_has_learned_is_among_the_starts_and_a_rival(wide: PairSource) -> None:
    below, taught = table_below(wide), teaching(wide)
    found = choose(taught, 6, below)
    assert sorted(found.tried or {}) == sorted([*GREEDY, "greedy on those of 4 NFE", "4 NFE and idle evaluations"])
    (rival,) = found.rivals
    assert rival.nfe == 6
    pairs = wide.pairs("test", 16)
    ends, expected = (plain_states(table, pairs.field, pairs.x0)[-1] for table in (rival, below))
    torch.testing.assert_close(ends, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("path", [CondOT(), EDM()], ids=lambda path: path.name)
def test_the_grid_of_the_table_below_is_carried_over(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    below, seen = random_table(4), []

    def greedy(times: Tensor, pairs: Pairs) -> NonStationarySolver:
        seen.append((times, len(pairs)))
        return greedy_table(times, pairs)

    monkeypatch.setattr(racing, "greedy_table", greedy)
    choose(teaching(blobs_source(path, tolerance=1e-3)), 6, below)
    grids = canonical_grids(path, (0.0, 1.0), 6)
    expected = [*grids.values(), transfer_times(below.times, 6, path)]
    assert [count for _, count in seen] == [FOLLOWED] * 4
    for (times, _), wanted in zip(seen, expected, strict=True):
        assert torch.equal(times, wanted)


def test_the_truth_is_to_be_fine_enough_for_what_becomes_of_the_starts(
    wide: PairSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []
    monkeypatch.setattr(Teaching, "sharpen", lambda self, psnr: asked.append(psnr))
    choose(teaching(wide), 3)
    monkeypatch.undo()
    taught = teaching(wide)
    followed = taught.pairs("train", FOLLOWED, along=True)
    few = followed.part(slice(16))
    tables = [greedy_table(times, followed) for times in canonical_grids(CondOT(), (0.0, 1.0), 3).values()]
    best = max(Attempt("", taught.problem, table, few, taught, BACKWARD).psnr for table in tables)
    assert asked == [pytest.approx(best + 5.0)]


@pytest.mark.parametrize(("path", "end"), [(VP(), 0.999), (EDM(), 1.0)])
def test_a_rival_on_another_path_ends_where_the_table_below_does(path: Path, end: float) -> None:
    source = blobs_source(path, end, tolerance=1e-3)
    below = NonStationarySolver.from_rows(end * random_table(3).times, random_table(3).rows)
    (rival,) = choose(teaching(source), 5, below).rivals
    assert torch.equal(rival.times[[0, -1]], below.times[[0, -1]])
    assert (rival.times.diff() > 0).all()
    # The widest gap is that of the straight path: of the noise levels alpha / (alpha + sigma).
    t = below.times
    gaps = (path.alpha(t) / (path.alpha(t) + path.sigma(t))).diff()
    widest = int(gaps.argmax())
    added = [time for time in rival.times.tolist() if min(abs(t - time)) > 1e-6]
    assert len(added) == 2
    assert any(t[widest] < time < t[widest + 1] for time in added)
    pairs = source.pairs("test", 8)
    ends, expected = (plain_states(table, pairs.field, pairs.x0)[-1] for table in (rival, below))
    torch.testing.assert_close(ends, expected, rtol=1e-8, atol=1e-8)


def watch(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Return a list that grows by the pairs and steps of every descent in a race."""
    seen: list[tuple[int, int]] = []
    descend = Attempt.descend

    def watched(self: Attempt, pairs: Pairs, steps: int) -> None:
        seen.append((len(pairs), steps))
        descend(self, pairs, steps)

    monkeypatch.setattr(Attempt, "descend", watched)
    return seen


def test_starts_descend_in_rounds_and_the_best_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    race = ((4, 1, 5), (8, 3, 2), (16, 2, 1))
    taught = Teaching(Problem(cross_source(), effort=replace(SMALL, race=race)), Cost())
    seen = watch(monkeypatch)
    found = choose(taught, 3)
    assert seen == [(4, 1)] * 3 + [(8, 3)] * 3 + [(16, 2)] * 2
    assert found.steps == 1 + 3 + 2


def test_a_race_takes_no_more_pairs_than_the_user_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    taught = Teaching(Problem(cross_source(), effort=replace(SMALL, race=((16, 1, 1),))), Cost())
    asked: list[int] = []
    pairs = Teaching.pairs

    def watched(self: Teaching, split: Split, count: int, along: bool = False) -> Pairs:
        asked.append(count) if split == "train" else None
        return pairs(self, split, count, along)

    monkeypatch.setattr(Teaching, "pairs", watched)
    seen = watch(monkeypatch)
    choose(taught, 3, pairs=8)
    assert seen == [(8, 1)] * 3
    assert max(asked) == 8


def test_the_floor_of_a_race_comes_down_to_that_of_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    taught = Teaching(Problem(cross_source(), effort=replace(SMALL, race=((16, 6, 1),))), Cost())
    shares: list[float] = []
    under = GaussNewton.under

    def watched(self: GaussNewton, floor: float, iterate: Iterate) -> Iterate:
        shares.append(floor / float(iterate.errors.median()))
        return under(self, floor, iterate)

    monkeypatch.setattr(GaussNewton, "under", watched)
    choose(taught, 3, floor=0.05)
    assert shares[:6] == pytest.approx([1.0, 0.3, 0.09, 0.05, 0.05, 0.05])


def test_a_longer_race_ends_with_a_better_start() -> None:
    effort = replace(SMALL, race=((16, 1, 5), (32, 8, 2), (128, 8, 1)))
    taught = Teaching(Problem(cross_source(tolerance=1e-7), effort=effort), Cost())
    found = choose(taught, 3)
    times = canonical_grids(CondOT(), (0.0, 1.0), 3).values()
    followed, test = taught.problem.source.trajectories("train", FOLLOWED), taught.problem.source.pairs("test", 128)
    best = max(psnr(greedy_table(grid, followed), test, 2.0) for grid in times)
    assert psnr(found.table, test, 2.0) > best + 4


def test_an_attempt_descends_and_counts_what_it_looks_at() -> None:
    taught = teaching(cross_source())
    pairs, others = taught.pairs("train", 16), taught.pairs("validation", 32)
    start = random_table(3)
    attempt = Attempt("mine", taught.problem, start, pairs, taught, BACKWARD)
    assert taught.cost.training == 3 * 16
    ends = plain_states(attempt.table, pairs.field, pairs.x0)[-1]
    errors = (ends - pairs.x1).square().mean(1)
    assert attempt.psnr == pytest.approx(float((10 * torch.log10(4 / errors)).mean()), abs=1e-3)  # one is hit
    assert torch.equal(attempt.table.times[[0, -1]], start.times[[0, -1]])
    before = attempt.errors_on(others)
    assert taught.cost.validation == 3 * 32
    expected = (plain_states(attempt.table, others.field, others.x0)[-1] - others.x1).square().mean(1)
    torch.testing.assert_close(before, expected, rtol=1e-9, atol=1e-14)
    attempt.descend(pairs, 4)
    assert attempt.errors_on(others).log().mean() < before.log().mean() - 1
    assert attempt.steps == 4


def test_repeated_times_of_a_start_are_opened() -> None:
    taught = teaching(cross_source())
    times = torch.tensor([0.0, 0.5, 0.5, 1.0], dtype=torch.float64)
    table = NonStationarySolver.from_rows(times, random_table(3).rows)
    attempt = Attempt("repeated", taught.problem, table, taught.pairs("train", 8), taught, BACKWARD)
    assert (attempt.table.times.diff() > 0).all()


def test_starts_are_compared_by_the_mean_log_error_above_the_least_median() -> None:
    rough = torch.tensor([1e-2, 1e-3, 4e-3], dtype=torch.float64)
    uneven = torch.tensor([1e-12, 1e-3, 2e-3], dtype=torch.float64)
    for errors in (rough, uneven):
        expected = np.log(errors.numpy() + 1e-3).mean()
        assert racing._loss(errors, [rough, uneven]) == pytest.approx(expected, rel=1e-12)
    assert racing._loss(replace_last(uneven, torch.inf), [rough]) == torch.inf
    assert racing._loss(replace_last(uneven, torch.nan), [rough]) == torch.inf


def replace_last(errors: Tensor, value: float) -> Tensor:
    return torch.cat([errors[:-1], errors.new_tensor([value])])


def test_a_truth_that_is_too_rough_for_what_becomes_of_the_starts_is_replaced() -> None:
    """In the plane five evaluations come nearer to the truth than a long table of 24 does."""
    taught = teaching(cross_source(tolerance=1e-7))
    found = choose(taught, 5)
    assert found.tried is not None
    assert taught.level > 0
    validation = f"validation, {taught.teacher.name}"
    assert validation in taught.cost.truths
    assert [name for name in taught.cost.truths if name.startswith("validation")] == [validation]


def test_a_race_of_many_guidance_scales_has_pairs_of_each() -> None:
    source = cross_source(tolerance=1e-3)
    mixed = MixedSource.of(source, tuple(0.1 * scale for scale in range(18)))
    taught = Teaching(Problem(mixed, effort=replace(SMALL, validation=18)), Cost())
    found = choose(taught, 2)
    assert set(found.tried or {}) == set(GREEDY)


def test_a_sole_evaluation_is_started_alike() -> None:
    taught = teaching(PairSource(GaussianModel(), "gaussian", tolerance=1e-4))
    found = choose(taught, 1)
    assert found.table.times.tolist() == [0.0, 1.0]
    assert len(found.tried or {}) == 3
    assert torch.equal(found.table.times, uniform(1))
