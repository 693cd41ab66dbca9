from __future__ import annotations

import json
import math
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bnsbench.errors import NotApplicableError, UsageError
from bnsbench.flows.paths import EDM, CondOT
from bnsbench.nonstationary.change_of_path import on_path
from bnsbench.nonstationary.table import NonStationarySolver
from bnsbench.nonstationary.tracing import trace
from bnsbench.solvers.adams_bashforth import adams_bashforth
from bnsbench.solvers.unipc import unipc
from bnsbench.storage.plain_data import as_plain_data
from bnsbench.training.descent import ACCURATE, CONVERGED, MORE_PAIRS, SPENT, Schedule
from bnsbench.training.distil import LIMIT_PAIRS, ROUND_SLOW_ITERATIONS, Choices, distil, make_legs
from bnsbench.training.families.parametrisation import FreeTable
from bnsbench.training.optimisers.selection import psnr
from bnsbench.training.problem import Cost, Effort, TrainingStatus
from bnsbench.training.recipes.bns import train_bns
from bnsbench.training.teaching import PROBED, LongTable, Teaching
from bnsbench.training.tuning.classics import rule_on_grid
from bnsbench.truth.mixed_source import MixedSource
from bnsbench.truth.pairs import TAUGHT_CHUNK, Pairs, PairSource
from bnsbench.truth.psnr import psnr_per_sample
from bnsbench.truth.teacher import Adaptive
from tests.training.toys import (
    SMALL,
    SOURCE,
    N,
    PlaneModel,
    anchored,
    bend,
    cross_source,
    euler_table,
    free,
    plane_source,
    problem,
    taught,
)


@pytest.mark.parametrize(
    "choice",
    [
        {"objective": "nonsense"},
        {"objective": "soft-"},
        {"optimiser": "sgd"},
        {"derivative": "sideways"},
        {"pairs": -1},
        {"iterations": -1},
        {"gain": -0.1},
        {"floor": -0.01},
        {"rate": -1.0},
        {"optimiser": "adam", "objective": "soft-mse"},
    ],
    ids=str,
)
def test_nonsense_is_refused_before_a_step_is_made(choice) -> None:
    told: list[TrainingStatus] = []
    with pytest.raises(UsageError, match=r"^[A-Z].*\.$"):
        distil(problem(SOURCE, progress=told.append), N, free(), Choices(**choice), Cost())
    assert told == []


def test_features_are_refused_where_there_are_none() -> None:
    with pytest.raises(NotApplicableError, match="needs a feature extractor"):
        distil(problem(SOURCE), N, free(), Choices(objective="log-features"), Cost())


def test_a_training_ends_when_it_is_accurate_enough() -> None:
    def train(enough: float = 90.0, **choices) -> tuple[float, int, str]:
        given = problem(SOURCE, effort=replace(SMALL, enough=enough))
        _, record = distil(given, N, free(), Choices(pairs=64, **choices), Cost())
        return record["psnr"], len(record["curve"]), record["stopped"]

    most, checks, ended = train()
    assert not ended.startswith("accurate")
    enough, fewer, stopped = train(most - 3.0)
    assert stopped == f"accurate to {most - 3.0:g} dB on the validation pairs"
    assert most - 3.0 <= enough <= most
    assert fewer < checks
    assert train(0.0)[1:] == (1, ACCURATE.format(0.0))  # the start was measured, and that was it
    assert train(0.0, gain=3e-3)[0] == most  # the user has said how far to go


def long_tables(steps: int) -> list[LongTable]:
    """The teachers of so many evaluations, made as anybody would make them for the source's path."""
    rules = {f"unipc of order 3 on {grid}": partial(unipc, order=3, grid=grid) for grid in ("logsnr:-5:5", "logsnr:-5:7")}
    grid = "kumaraswamy:1.5:2"
    rules[f"ab4 on {grid}"] = partial(adams_bashforth, order=4, grid=grid)
    return [LongTable(trace(partial(rule, nfe=steps), SOURCE.model.path, (0.0, 1.0)), name) for name, rule in rules.items()]


@pytest.mark.parametrize("least", [0.0, 1e9])
def test_a_table_that_multiplies_errors_is_told_of(least: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """On EDM, too, whose states are up to 80 times as large, it is as on the canonical path."""
    monkeypatch.setattr("bnsbench.training.distil.LARGE_NOISE_GAIN", least)
    for path in (CondOT(), EDM()):
        heard: list[str] = []
        source = cross_source(path)
        family = FreeTable(on_path(euler_table(3), CondOT(), path), path)
        given = replace(problem(source), notice=heard.append)
        table, record = distil(given, 3, family, Choices(pairs=16, iterations=1), Cost())
        told = on_path(table, path, CondOT())
        expected = told.b.square().sum(1).sqrt().max() / (told.times[-1] - told.times[0])
        assert record["largest_noise_gain"] == pytest.approx(float(expected), abs=1e-4)
        assert 0.3 < record["largest_noise_gain"] < 30
        notes = [text for text in heard if "times their size" in text]
        assert len(notes) == (least == 0.0)
        assert all(f"{record['largest_noise_gain']:.3g}" in text for text in notes)


def test_the_record_says_what_was_done() -> None:
    cost = Cost(training=1000)
    table, record = distil(problem(SOURCE), N, free(), Choices("mse", pairs=40, iterations=1), cost)
    said = {key: record[key] for key in ("family", "parameters", "objective", "optimiser", "derivative", "floor", "pairs")}
    assert said == {
        "family": "FreeTable",
        "parameters": N - 1 + N * (N + 3) // 2,
        "objective": "mse",
        "optimiser": "gauss-newton",
        "derivative": "backward",
        "floor": 0.3,
        "pairs": 40,
    }
    assert record["validation_pairs"] == 64
    assert record["stopped"] == SPENT
    assert (record["iterations"], record["still"], record["rejected"]) == (2, 0, 0)
    validation = taught(record, SOURCE)
    assert record["psnr"] == pytest.approx(psnr(table, validation, 2.0))
    error = table(validation.field, validation.x0) - validation.x1
    assert record["loss"] == pytest.approx(float(error.square().mean().log()), abs=1e-6)
    # Nothing less than a chunk is solved, and the truth is measured on a few samples.
    exact = Adaptive(1e-5, canonical=True)
    measured = SOURCE.taught(exact, PROBED).pairs("train", PROBED)
    worth: dict[str, float] = {}
    for teacher in long_tables(24):
        few = SOURCE.taught(teacher, PROBED).pairs("train", PROBED)
        worth[teacher.name] = float(psnr_per_sample(few.x1, measured.x1, 2.0).mean())
    long = max(worth, key=lambda name: worth[name])
    assert record["teacher"] == long
    assert record["teacher_psnr"] == pytest.approx(worth[long], abs=1e-9)
    assert record["spent"]["truths"] == {
        f"train, {long}": 24 * 2 * TAUGHT_CHUNK,
        f"validation, {long}": 24 * 2 * TAUGHT_CHUNK,
        **{f"error of {name}": 24 * PROBED for name in worth},
        f"error of {exact.name}": measured.truth_evaluations,
    }
    assert record["forwards"] == {
        "teacher": 2 * cost.teacher,
        "training": 2 * cost.training,
        "validation": 2 * 2 * 2 * N * 64,  # of either leg the start and its iteration
    }
    # What the start had cost, an evaluation of a leg's start and of a trial at its iteration, and the sweeps for the
    # gradient and for either residual, each of an evaluation once more and twice as much on the way back.
    assert record["forwards"]["training"] >= 2 * (1000 + ((1 + 1) * N + (1 + 2 * 3) * (N - 1)) * (32 + 40))
    made = problem(SOURCE).artefact("bns", table, record, 0.0)
    assert (made.name, made.model, made.guidance) == ("bns", "cross", 1.0)
    assert made.training["seed"] == 0
    assert made.training["seconds"] > 0
    json.dumps(as_plain_data(made.to_dict()), allow_nan=False)


def test_the_record_says_why_it_stopped(source: PairSource) -> None:
    """That a leg converges is a matter of the descent."""

    def stopped(**choices) -> str:
        return str(distil(problem(source), N, free(), Choices(pairs=40, **choices), Cost())[1]["stopped"])

    assert stopped(iterations=1) == SPENT
    assert stopped(iterations=1, optimiser="adam") == SPENT
    assert stopped(gain=100.0) == CONVERGED
    assert stopped(gain=100.0, optimiser="adam", iterations=5) == SPENT


@pytest.mark.parametrize(("least", "pairs"), [(1e-9, 48), (1e3, 16)])
def test_pairs_grow_where_more_of_them_would_gain(least: float, pairs: int, source: PairSource) -> None:
    """Unless the user has said how many there are."""
    given = problem(source, effort=Effort(pairs=48, parts=(16,), least_excess=least))

    def train(**choices) -> dict[str, Any]:
        return distil(given, N, free(), Choices(gain=1.0, floor=1.0, **choices), Cost())[1]

    record = train()
    assert record["pairs"] == pairs
    assert record["stopped"] == CONVERGED + (MORE_PAIRS.format(4.343 * least) if pairs == 16 else "")
    assert train(pairs=40)["pairs"] == 40


def test_no_table_that_is_known_already_is_better_than_what_is_returned(source: PairSource) -> None:
    """A rival counts if it is the best, and costs its validation."""
    choices = Choices(pairs=16, iterations=1)
    better, _ = distil(problem(source), N, free(), Choices(pairs=64), Cost())
    worse = euler_table(N)
    plain, record = distil(problem(source), N, free(), choices, Cost())
    for rivals, best in (((better,), better), ((worse,), plain), ((worse, better), better)):
        table, found = distil(problem(source), N, free(), choices, Cost(), rivals=rivals)
        assert torch.equal(table.rows, best.rows)
        assert torch.equal(table.times, best.times)
        assert len(found["curve"]) == len(record["curve"]) + len(rivals)
        assert found["psnr"] == pytest.approx(psnr(best, taught(found, source), 2.0))


def test_a_truth_that_the_start_has_used_goes_on(source: PairSource) -> None:
    cost = Cost()
    teaching = Teaching(problem(source), cost)
    teaching.level = 2
    _, record = distil(problem(source), N, free(), Choices(pairs=16, iterations=1), cost, teaching=teaching)
    assert record["teacher"] in {teacher.name for teacher in teaching.levels[2]}
    assert not any(teacher.name in name for teacher in teaching.levels[0] for name in record["spent"]["truths"])


def test_adam_learns_from_the_finest_truth(source: PairSource) -> None:
    choices = Choices(optimiser="adam", pairs=16, iterations=2)
    table, record = distil(problem(source), N, free(), choices, Cost())
    assert record["teacher"] == Adaptive(1e-5, canonical=True).name
    assert record["teacher_psnr"] == math.inf
    assert record["psnr"] == pytest.approx(psnr(table, taught(record, source), 2.0))


class Coarse(PlaneModel):
    """A field of the plane whose network computes in bfloat16."""

    dtype = torch.bfloat16

    def predict(self, t: Tensor, x: Tensor, condition: Tensor | None) -> Tensor:
        return super().predict(t, x.double(), condition).to(self.dtype)


@pytest.mark.parametrize("share", [0.1, 0.19, 0.21, 0.5])
def test_rounding_is_the_limit_where_it_makes_up_a_fifth_of_the_error(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error of rounding alone is told here; the record says why it stopped, and what it has cost to know."""
    given = problem(PairSource(Coarse(bend), "coarse", tolerance=1e-2), effort=Effort(validation=200))
    asked: list[int] = []

    def train(limit: float) -> dict[str, Any]:
        def told(table: NonStationarySolver, pairs: Pairs, *_: object) -> tuple[float, int]:
            asked.append(len(pairs))
            return limit, 5

        monkeypatch.setattr("bnsbench.training.distil.precision_limit", told)
        return distil(given, 2, FreeTable(euler_table(2)), Choices(pairs=16, iterations=1), Cost())[1]

    reached = train(math.inf)["psnr"]
    record = train(reached - 10 * math.log10(share))
    assert record["psnr"] == reached
    words = f"the network's bfloat16 arithmetic, which allows {record['precision_limit']:.1f} dB at most, is the limit"
    assert (record["stopped"] == words) == (share > 0.2)
    assert asked == [LIMIT_PAIRS, LIMIT_PAIRS]
    # Another truth and two runs beside the two checks of the descent.
    assert record["spent"]["truths"]["precision, 2 NFE"] == 5 * LIMIT_PAIRS
    assert record["spent"]["validation"] == 2 * (2 * 200 + 2 * LIMIT_PAIRS)


def test_the_seed_decides_the_pairs_and_the_sketches() -> None:
    ends = [
        distil(problem(cross_source(guidance=1.0, seed=seed)), N, free(), Choices(pairs=16, iterations=2), Cost())[0]
        for seed in (0, 0, 1)
    ]
    assert torch.equal(ends[0].rows, ends[1].rows)
    assert not torch.equal(ends[0].rows, ends[2].rows)


def test_the_best_validation_iterate_is_kept_and_not_the_last() -> None:
    """Eight pairs are soon learned by heart."""
    given = plane_source(bend)
    table, record = distil(problem(given), 6, FreeTable(euler_table(6)), Choices("mse", pairs=8), Cost())
    losses = [point["loss"] for point in record["curve"]]
    best = losses.index(min(losses))
    assert 0 < best < len(losses) - 1
    assert losses[-1] > losses[best] + 0.1
    assert record["loss"] == pytest.approx(losses[best], abs=1e-6)
    pairs = taught(record, given)
    found = (table(pairs.field, pairs.x0) - pairs.x1).square().mean().log()
    assert float(found) == pytest.approx(losses[best], abs=1e-6)


def test_legs_are_on_more_and_more_pairs_and_none_is_on_more_than_there_are() -> None:
    effort = Effort(parts=(8, 32))
    for count, legs in ((7, [7]), (8, [8]), (9, [8, 9]), (32, [8, 32]), (100, [8, 32, 100])):
        assert [leg.pairs for leg in make_legs(count, Choices(), effort)] == legs


def test_only_the_first_leg_and_those_of_a_user_s_pairs_are_taken_in_any_case() -> None:
    effort = Effort(parts=(8, 32), least_excess=0.5)
    assert [leg.least_excess for leg in make_legs(100, Choices(), effort)] == [0.0, 0.5, 0.5]
    assert [leg.least_excess for leg in make_legs(100, Choices(pairs=100), effort)] == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("blocks", [(), (torch.tensor([0]), torch.tensor([1, 2]))], ids=["all at once", "in turn"])
def test_legs_go_as_far_as_is_asked_for(blocks: tuple[Tensor, ...]) -> None:
    """And as far as any other leg where nothing is asked for; one that another follows need not be converged on."""
    default = Schedule(slow_iterations=ROUND_SLOW_ITERATIONS) if blocks else Schedule()
    assert default.leaving_gain > default.slow_gain
    plain = [leg.schedule for leg in make_legs(64, Choices(), SMALL, blocks)]
    assert plain == [default] * len(plain)
    told = [leg.schedule for leg in make_legs(64, Choices(iterations=7, gain=0.5), SMALL, blocks)]
    leaving = default.leaving_gain if blocks else 0.5
    assert told == [replace(default, iterations=7, slow_gain=0.5, leaving_gain=leaving)] * len(plain)
    patient = [leg.schedule for leg in make_legs(64, Choices(gain=1e-4), SMALL, blocks)]
    assert patient == [replace(default, slow_gain=1e-4)] * len(plain)


@pytest.mark.parametrize("checkpointed", [False, True])
def test_adam_pays_for_the_way_back_and_for_what_it_computes_again(checkpointed: bool, source: PairSource) -> None:
    """A backward pass is two evaluations; every other activation is kept."""
    choices = Choices(optimiser="adam", pairs=16, iterations=2, checkpointed=checkpointed)
    spent = distil(problem(source), N, free(), choices, Cost())[1]["spent"]
    assert spent["training"] == 2 * 16 * N * (1 + 2 + (1 if checkpointed else 0))


def test_blocks_are_descended_over_in_turn_and_empty_ones_left_out() -> None:
    blocks = (torch.tensor([0, 1]), torch.tensor([], dtype=torch.int64), torch.tensor([2]))
    made = make_legs(64, Choices(), SMALL, blocks)
    assert [leg.free.tolist() for leg in made if leg.free is not None] == 3 * [[0, 1], [2]]
    assert {(leg.pairs, leg.least_excess) for leg in made} == {(64, 0.0)}


def test_blocks_leave_the_other_parameters_where_they_are(source: PairSource) -> None:
    family, (rows, times) = anchored(SOURCE, N)
    start = family.table(family.start())
    choices = Choices(pairs=32, iterations=2)
    moved, record = distil(problem(source), N, family, choices, Cost(), blocks=(rows,))
    assert torch.equal(moved.times, start.times)
    assert not torch.equal(moved.rows, start.rows)
    assert record["loss"] < record["curve"][0]["loss"]
    rule, _ = rule_on_grid(problem(source), N, "unipc")
    turned, _ = distil(problem(source), N, family, choices, Cost(), blocks=(times,))
    assert not torch.equal(turned.times, start.times)
    torch.testing.assert_close(turned.rows, rule(turned.times).rows)


def test_a_mixture_of_scales_serves_each_better_than_the_specialist_of_another(tmp_path: Path) -> None:
    scales = (0.0, 1.0, 2.0)
    sources = {w: cross_source(guidance=w, cache=tmp_path) for w in scales}
    made = {w: train_bns(problem(source), 4, pairs=96, iterations=6) for w, source in sources.items()}
    mixed = train_bns(problem(MixedSource.of(sources[0.0], scales)), 4, pairs=96, iterations=6)
    assert mixed.guidance == scales
    for w, wrong in ((0.0, 2.0), (1.0, 0.0), (2.0, 0.0)):
        test = sources[w].pairs("test", 64)
        ours, theirs = (psnr(found.solver, test, 2.0) for found in (mixed, made[wrong]))
        assert ours > theirs + 1
