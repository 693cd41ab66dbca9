from __future__ import annotations

import itertools
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from bnsbench.errors import BnsbenchError, NotApplicableError, UsageError
from bnsbench.flows.fields import CountingField
from bnsbench.flows.paths import VP, CondOT, Cosine
from bnsbench.models.digits.mixture import digits_gmm
from bnsbench.models.mixtures import MixtureModel
from bnsbench.nonstationary.artefact import SolverArtefact
from bnsbench.nonstationary.table import NonStationarySolver
from bnsbench.nonstationary.tracing import trace
from bnsbench.solvers.runge_kutta import midpoint
from bnsbench.training.allowance import Allowance
from bnsbench.training.budget import Budget
from bnsbench.training.optimisers.selection import psnr
from bnsbench.training.problem import Effort, Problem, TrainingStatus
from bnsbench.training.recipes.bns import LADDERS, rung_below, train_bns
from bnsbench.training.recipes.fitting import LADDER_SHARE
from bnsbench.training.recipes.initial import START_GRIDS
from bnsbench.truth.mixed_source import MixedSource
from bnsbench.truth.pairs import PairSource
from bnsbench.truth.source import Source
from tests.flows.toy import GaussianModel
from tests.training.toys import SMALL, bend, blobs, blobs_source, cross, cross_source, plane_source, smooth_features


def problem(source: Source, **more) -> Problem:
    """The problem of training for a source, validated on fewer pairs than a user's."""
    return Problem(source, effort=SMALL, **more)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> PairSource:
    return cross_source(guidance=1.0, cache=tmp_path_factory.mktemp("pairs"))


def test_the_default_recipe_beats_the_midpoint_rule_far_on_unseen_noise() -> None:
    source = PairSource(digits_gmm(), "digits-gmm", tolerance=1e-3)
    artefact = train_bns(problem(source), 4, pairs=128, iterations=6)
    test = source.pairs("test", 128)
    rule = trace(lambda field, x0: midpoint(field, x0, 4), source.model.path)
    found = psnr(artefact.solver, test, 2.0)
    assert found > psnr(rule, test, 2.0) + 8
    assert artefact.training["psnr"] == pytest.approx(found, abs=2.0)
    assert artefact.solver.nfe == 4
    assert artefact.name == "bns"
    assert artefact.training["recipe"] == "default"


def test_training_is_reproducible_and_the_artefact_survives_the_file(source: PairSource, tmp_path: Path) -> None:
    first, second = (train_bns(problem(source), 2, pairs=40, iterations=3) for _ in range(2))
    assert first.solver.fingerprint() == second.solver.fingerprint()
    first.save(tmp_path / "bns.json")
    loaded = SolverArtefact.load(tmp_path / "bns.json")
    assert loaded.solver.fingerprint() == first.solver.fingerprint()
    assert loaded.training["curve"] == first.training["curve"]
    assert loaded.training["start"]["name"].startswith("greedy on ")
    assert len(loaded.training["start"]["table"]["a"]) == 2


class Watched(torch.autograd.Function):
    """The identity, which notes every sample that passes through it backwards as two forwards."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, seen: list[int]) -> Tensor:
        ctx.seen = seen
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        ctx.seen.append(2 * len(gradients[0]))
        return gradients[0], None


class Counted(MixtureModel):
    """The toy, with the samples that its network has seen."""

    seen: list[int]

    def predict(self, t: Tensor, x: Tensor, condition: Tensor | None) -> Tensor:
        self.seen.append(len(x))
        watched: Tensor = Watched.apply(x, self.seen)
        return super().predict(t, watched, condition)


@pytest.mark.parametrize("guidance", [0.0, 1.0])
def test_forwards_count_the_network_and_all_purposes(guidance: float, tmp_path: Path) -> None:
    """By a network that counts for itself: teachers, starts, the descent and its validation."""
    model = Counted(cross().mixture, CondOT(), (2,))
    model.seen = []
    given = PairSource(model, "cross", guidance, tolerance=1e-5, cache=tmp_path)
    record = train_bns(problem(given), 3, pairs=40, iterations=2).training
    assert set(record["forwards"]) == {"teacher", "training", "validation"}
    assert sum(record["forwards"].values()) == sum(model.seen)
    model.seen.clear()
    again = train_bns(problem(given), 3, pairs=40, iterations=2).training
    assert again["forwards"] == record["forwards"]
    # What is kept on disk has been paid for.
    assert sum(model.seen) == again["forwards"]["training"] + again["forwards"]["validation"]


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> PairSource:
    return blobs_source(cache=tmp_path_factory.mktemp("wide"))


def test_a_rung_starts_from_what_the_rung_below_has_learned(wide: PairSource) -> None:
    asked: list[int] = []
    below = train_bns(problem(wide), 4, pairs=40, iterations=2)

    def previous(nfe: int) -> SolverArtefact:
        asked.append(nfe)
        return below

    artefact = train_bns(problem(wide, previous=previous), 9, pairs=40, iterations=1)
    assert asked == [8]
    tried = artefact.training["start"]["tried"]
    grids = {f"greedy on {name}" for name in (*START_GRIDS, "those of 4 NFE")}
    assert set(tried) == {*grids, "4 NFE and idle evaluations"}
    assert artefact.training["start"]["name"] in tried
    assert artefact.training["rung_below"] == 4
    for ladder in ("none", "standard"):
        first = train_bns(problem(wide, previous=previous), 8, ladder=ladder, pairs=40, iterations=1)
        assert set(first.training["start"]["tried"]) == {f"greedy on {name}" for name in START_GRIDS}
    assert asked == [8]
    train_bns(problem(wide, previous=previous), 9, ladder="none", pairs=40, iterations=1)
    train_bns(problem(wide, previous=previous), 6, ladder="every", pairs=40, iterations=1)
    assert asked == [8, 5]


def test_the_ladder_has_a_low_rung_in_few_dimensions_alone(source: PairSource) -> None:
    asked: list[int] = []

    def refuse(nfe: int) -> SolverArtefact:
        asked.append(nfe)
        raise KeyboardInterrupt

    few, many = (PairSource(GaussianModel(dim=dim), "gaussian", tolerance=1e-3) for dim in (32, 33))
    for given, nfe in ((source, 8), (few, 5), (many, 9)):
        with pytest.raises(KeyboardInterrupt):
            train_bns(problem(given, previous=refuse), nfe, pairs=16, iterations=1)
    assert asked == [4, 4, 8]
    train_bns(problem(many, previous=refuse), 5, pairs=16, iterations=1)
    assert asked == [4, 4, 8]


def test_a_table_does_not_fall_behind_the_rung_below(wide: PairSource) -> None:
    """However little it is trained, and on hardly any pairs: there is the table below with an idle evaluation."""
    below = train_bns(problem(wide), 7, pairs=128, iterations=14)
    alone, made = (
        train_bns(problem(wide, previous=lambda nfe: below), 8, ladder=ladder, pairs=2, iterations=1)
        for ladder in ("none", "every")
    )
    test = wide.pairs("test", 128)
    before, after, without = (psnr(found.solver, test, 2.0) for found in (below, made, alone))
    assert after > before - 0.1
    assert without < before - 1
    # It is looked at before any step, on the truth of a teacher that may be another.
    assert made.training["curve"][0]["psnr"] == pytest.approx(below.training["psnr"], abs=0.5)


def test_the_ladders() -> None:
    standard = {1: None, 4: None, 8: None, 9: 8, 12: 8, 13: 12, 16: 12, 18: 16, 24: 20, 32: 24, 40: 32}
    assert {n: rung_below(n) for n in standard} == standard
    assert {n: rung_below(n, dimensions=33) for n in standard} == standard
    low = {**standard, 5: 4, 8: 4}
    assert {n: rung_below(n, dimensions=32) for n in low} == low
    every = {3: None, 4: None, 5: 4, 6: 5, 20: 19, 64: 63}
    for dimensions in (None, 2, 100):
        assert {n: rung_below(n, "every", dimensions) for n in every} == every
        assert {rung_below(n, "none", dimensions) for n in range(1, 70)} == {None}
    assert set(LADDERS) == {"standard", "every", "none"}
    with pytest.raises(UsageError, match=r"no ladder 'rope'; choose from standard, every, none"):
        rung_below(8, "rope")


def test_progress_is_reported_with_the_best_so_far(source: PairSource) -> None:
    told: list[TrainingStatus] = []
    # Under no floor in the end, so that of two tables the one with the lower loss is the better one.
    train_bns(problem(source, progress=told.append), 2, pairs=40, iterations=4, floor=0.0)
    # The start is looked at first; every leg begins with the iterate at which the one before has ended.
    steps = [after.iteration - before.iteration for before, after in itertools.pairwise(told)]
    assert told[0].iteration == 0
    assert set(steps) <= {0, 1}
    assert steps.count(0) <= 2
    assert steps.count(1) >= 2
    assert {status.total for status in told[1:]} == {2 * 4}
    assert {status.nfe for status in told} == {2}
    losses = [status.loss for status in told if status.loss is not None]
    assert len(losses) == len(told)
    best = [told[losses.index(min(losses[: k + 1]))].psnr for k in range(len(losses))]
    assert [status.psnr for status in told] == best
    assert [status.forwards for status in told] == sorted(status.forwards for status in told)


def test_a_given_start_is_descended_from(source: PairSource, tmp_path: Path) -> None:
    plain = train_bns(problem(source), 4, init="euler", pairs=40, iterations=2).training
    scaled = train_bns(problem(source), 4, init="euler", sigma_0=2.0, pairs=40, iterations=2).training
    assert plain["start"]["name"] == "euler"
    assert scaled["start"]["name"] == "euler sigma_0=2"
    assert plain["start"]["table"]["times"] == pytest.approx([0.0, 0.25, 0.5, 0.75, 1.0])
    assert scaled["start"]["table"]["times"] != plain["start"]["table"]["times"]
    assert plain["psnr"] >= plain["curve"][0]["psnr"] - 1e-4  # which is rounded
    trained = train_bns(problem(source), 4, pairs=128, iterations=6)
    trained.save(tmp_path / "bns.json")
    other = replace(source, guidance=2.0)
    again = train_bns(problem(other), 4, init=str(tmp_path / "bns.json"), pairs=128, iterations=2).training
    assert again["start"]["name"] == "bns at 4 NFE for cross w=1"
    torch.testing.assert_close(torch.tensor(again["start"]["table"]["times"], dtype=torch.float64), trained.solver.times)


@pytest.mark.parametrize(
    "choice",
    [
        {"objective": "mse"},
        {"objective": "log-features"},
        {"objective": "trajectory"},
        {"objective": "soft-log-mse"},
        {"derivative": "forward", "objective": "mse"},
        {"derivative": "difference", "objective": "mse"},
        {"optimiser": "adam", "checkpointed": True, "rate": 0.01},
    ],
    ids=str,
)
def test_objective_optimiser_and_derivative_can_be_chosen(source: PairSource, choice) -> None:
    given = problem(source, features=smooth_features())
    iterations = 50 if "optimiser" in choice else 6
    record = train_bns(given, 3, init="euler", pairs=60, iterations=iterations, **choice).training
    for key in ("objective", "optimiser", "derivative"):
        default = {"objective": "log-mse", "optimiser": "gauss-newton", "derivative": "backward"}[key]
        assert record[key] == choice.get(key, default)
    assert record["loss"] < record["curve"][0]["loss"] - 0.1


def test_derivatives_forwards_and_by_differences_lead_the_same_way() -> None:
    given = problem(plane_source(bend))
    choices: dict[str, Any] = {"init": "euler", "objective": "mse", "pairs": 60, "iterations": 2}
    curves = [train_bns(given, 4, derivative=kind, **choices).training["curve"] for kind in ("forward", "difference")]
    losses = [[point["loss"] for point in curve] for curve in curves]
    assert losses[0] == pytest.approx(losses[1], abs=0.02)
    assert losses[0][-1] < losses[0][0] - 1


def test_a_mixture_s_table_says_all_its_scales(source: PairSource, tmp_path: Path) -> None:
    mixed = MixedSource.of(replace(source, guidance=0.0), (0.0, 2.0), (1.0, 3.0))
    made = train_bns(problem(mixed), 3, pairs=40, iterations=2)
    assert made.guidance == (0.0, 2.0)
    made.save(tmp_path / "mixed.json")
    assert SolverArtefact.load(tmp_path / "mixed.json").guidance == (0.0, 2.0)


def test_the_weights_of_a_mixture_decide_whom_it_serves(source: PairSource) -> None:
    found = {}
    for weights in ((20.0, 1.0), (1.0, 20.0)):
        mixed = MixedSource.of(source, (0.0, 3.0), weights)
        table = train_bns(problem(mixed), 3, pairs=96, iterations=6).solver
        found[weights] = [psnr(table, replace(source, guidance=w).pairs("test", 64), 2.0) for w in (0.0, 3.0)]
    first, second = found.values()
    assert first[0] > second[0] + 1
    assert second[1] > first[1] + 1


def test_the_paper_s_recipe_is_offered_with_other_counts(source: PairSource) -> None:
    made = train_bns(problem(source), 2, recipe="paper", pairs=48, iterations=10)
    record = made.training
    assert made.name == "bns"
    assert (record["recipe"], record["pairs"], record["iterations"], record["learning_rate"]) == ("paper", 48, 10, 5e-4)
    assert record["start"]["name"].split()[0] in {"euler", "midpoint"}


def test_what_there_is_not_is_refused(source: PairSource) -> None:
    refused: list[tuple[dict[str, Any], str]] = [
        ({"recipe": "magic"}, "no BNS recipe 'magic'"),
        ({"ladder": "rope"}, "no ladder 'rope'"),
        ({"objective": "own"}, "no objective 'own'"),
        ({"optimiser": "sgd"}, "no optimiser 'sgd'"),
        ({"init": "magic"}, "no built-in solver 'magic'"),
    ]
    for settings, words in refused:
        with pytest.raises(UsageError, match=words):
            train_bns(problem(source), 4, pairs=16, **settings)
    with pytest.raises(BnsbenchError, match="midpoint"):
        train_bns(problem(source), 5, init="midpoint")


def test_the_paper_s_recipe_takes_no_other_objective(source: PairSource) -> None:
    with pytest.raises(UsageError, match="has its own objective and optimiser"):
        train_bns(problem(source), 2, recipe="paper", objective="mse")


def test_a_rung_costs_what_the_rungs_below_have_cost_too_and_each_truth_once(tmp_path: Path) -> None:
    """By a network that counts for itself through all rungs, whose truths are kept."""
    model = Counted(blobs(), CondOT(), (36,))
    model.seen = []
    source = PairSource(model, "blobs", tolerance=1e-5, cache=tmp_path)
    known: dict[int, SolverArtefact] = {}

    def trained(nfe: int) -> SolverArtefact:
        if nfe not in known:
            known[nfe] = train_bns(problem(source, previous=trained), nfe, ladder="every", pairs=40, iterations=2)
        return known[nfe]

    upper, lower = trained(6).training, trained(5).training
    assert sorted(known) == [4, 5, 6]
    assert sum(upper["forwards"].values()) == sum(model.seen)
    own = upper["own_forwards"]
    for kind in ("training", "validation"):
        assert upper["forwards"][kind] == own[kind] + lower["forwards"][kind]
    assert own["teacher"] < upper["forwards"]["teacher"] < own["teacher"] + lower["forwards"]["teacher"]
    alone = train_bns(problem(source, previous=trained), 6, ladder="none", pairs=40, iterations=2).training
    assert "own_forwards" not in alone


def test_a_rung_below_whose_record_has_forwards_alone_is_paid_for_as_well(wide: PairSource) -> None:
    """As have the records of shipped solvers and of other software."""
    lower = train_bns(problem(wide), 4, pairs=40, iterations=2)
    bare = replace(lower, training={"forwards": lower.training["forwards"]})
    given = problem(wide, previous=lambda nfe: bare)
    upper = train_bns(given, 5, ladder="every", pairs=40, iterations=2).training
    for kind, count in upper["forwards"].items():
        assert count == upper["own_forwards"][kind] + lower.training["forwards"][kind]


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> PairSource:
    return PairSource(digits_gmm(), "digits-gmm", 2.0, tolerance=1e-4, cache=tmp_path_factory.mktemp("digits"))


def guided_and_split(source: Source, nfe: int, **choices: Any) -> tuple[SolverArtefact, SolverArtefact]:
    """Both trainings, the second from the first."""
    guided = train_bns(problem(source), nfe, **choices)
    asked: list[tuple[int, dict[str, Any]]] = []

    def variant(nfe: int, options: Mapping[str, Any]) -> SolverArtefact:
        asked.append((nfe, dict(options)))
        return guided

    split = train_bns(problem(source, variant=variant), nfe, columns="split", **choices)
    assert asked == [(nfe, {"columns": "guided"})]
    return guided, split


def test_split_columns_gain_on_unseen_noise_at_the_same_forwards(digits: PairSource) -> None:
    guided, split = guided_and_split(digits, 4, pairs=128, iterations=8)
    assert (split.solver.columns, split.solver.guidance, split.solver.nfe) == (2, 2.0, 4)
    assert split.training["parameters"] == 2 * 4 - 1 + 4 * 5
    assert split.training["columns"] == "split"
    assert split.training["pairs"] == 128
    test = digits.pairs("test", 256)
    before, after = (psnr(each.solver, test, 2.0) for each in (guided, split))
    assert after > before + 0.2
    counter = CountingField(test.field)
    split.solver(counter, test.x0)
    assert (counter.nfe, counter.forwards) == (4, 2 * 4 * 256)


@pytest.mark.parametrize("choices", [{"derivative": "forward"}, {"derivative": "difference"}, {"objective": "trajectory"}])
def test_split_columns_never_fall_behind_the_table_that_they_go_on_from(source: PairSource, choices: dict[str, Any]) -> None:
    guided, split = guided_and_split(source, 3, pairs=40, iterations=2, **choices)
    start = NonStationarySolver.from_dict(split.training["start"]["table"])
    torch.testing.assert_close(start.rows, guided.solver.split(1.0).rows)
    assert split.training["curve"][0]["iteration"] == 0
    assert split.training["loss"] <= split.training["curve"][0]["loss"] + 1e-6


def test_split_columns_train_the_table_of_velocities_where_nobody_keeps_one(source: PairSource, tmp_path: Path) -> None:
    guided, split = guided_and_split(source, 3, pairs=40, iterations=2)
    told: list[TrainingStatus] = []
    alone = problem(source, checkpoint=tmp_path / "state.pt", progress=told.append)
    found = train_bns(alone, 3, columns="split", pairs=40, iterations=2)
    assert found.solver.fingerprint() == split.solver.fingerprint()
    assert not list(tmp_path.iterdir())
    # Interrupted while the columns are split, it comes to the same end.
    seen: list[TrainingStatus] = []

    def stop(status: TrainingStatus) -> None:
        seen.append(status)
        if len(seen) == len(told) - 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_bns(replace(alone, progress=stop), 3, columns="split", pairs=40, iterations=2)
    assert [file.name for file in tmp_path.iterdir()] == ["state.pt"]
    again = train_bns(replace(alone, progress=None), 3, columns="split", pairs=40, iterations=2)
    assert again.solver.fingerprint() == split.solver.fingerprint()
    total = {kind: found.training["forwards"][kind] for kind in ("training", "validation")}
    own = found.training["own_forwards"]
    assert total == {kind: own[kind] + guided.training["forwards"][kind] for kind in total}


def test_the_ladder_of_split_columns_is_that_of_velocities(wide: PairSource) -> None:
    """Rungs below are trained for velocities, and none of them is split."""
    source = replace(cross_source(guidance=1.0), tolerance=1e-4)
    asked: list[int] = []

    def previous(nfe: int) -> SolverArtefact:
        asked.append(nfe)
        raise AssertionError

    found = train_bns(problem(source, previous=previous), 5, columns="split", ladder="every", pairs=32, iterations=1)
    assert asked == []
    assert found.solver.columns == 2


@pytest.mark.parametrize("path", [VP(), Cosine()], ids=lambda path: path.name)
def test_split_columns_go_on_from_their_rival_on_any_path(path: Any) -> None:
    end = 0.999 if isinstance(path, VP) else 1.0
    source = PairSource(MixtureModel(cross().mixture, path, (2,), end), "cross", 1.0, tolerance=1e-4)
    guided, split = guided_and_split(source, 3, pairs=40, iterations=2)
    # Its number is that of a new measurement, which rounds otherwise.
    assert split.training["psnr"] >= guided.training["psnr"] - 1.0
    assert split.training["loss"] <= split.training["curve"][0]["loss"] + 1e-6
    assert torch.equal(split.solver.times[[0, -1]], guided.solver.times[[0, -1]])


def test_split_columns_are_refused_where_guidance_is_no_mixture_of_two_answers(
    source: PairSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(source.model), "linear_guidance", False)
    with pytest.raises(NotApplicableError, match="is of a kind of its own, so no table can weigh its answers apart"):
        train_bns(problem(source), 3, columns="split")


def test_split_columns_are_refused_where_there_is_nothing_to_split(source: PairSource) -> None:
    with pytest.raises(NotApplicableError, match="Without guidance a network answers once"):
        train_bns(problem(replace(source, guidance=0.0)), 3, columns="split")
    several = MixedSource.of(source, (2.0, 0.0, 1.0))
    with pytest.raises(NotApplicableError, match="cannot serve 0, 1, 2 at once: train one for each"):
        train_bns(problem(several), 3, columns="split")
    with pytest.raises(NotApplicableError, match="unconditional"):
        train_bns(problem(blobs_source(guidance=1.0)), 3, columns="split", pairs=16)
    with pytest.raises(UsageError, match="columns are guided or split, not 'both'"):
        train_bns(problem(source), 3, columns="both")
    with pytest.raises(UsageError, match="recipe 'paper' trains tables of velocities"):
        train_bns(problem(source), 3, columns="split", recipe="paper")


def test_one_scale_of_a_mixture_is_a_scale(source: PairSource) -> None:
    made = train_bns(problem(MixedSource.of(source, (1.0,), (3.0,))), 2, columns="split", pairs=16, iterations=1)
    assert (made.guidance, made.solver.guidance) == ((1.0,), 1.0)


def test_the_times_of_split_columns_are_a_start_for_others(source: PairSource, tmp_path: Path) -> None:
    _, split = guided_and_split(source, 3, pairs=40, iterations=2)
    split.save(tmp_path / "split.json")
    again = train_bns(problem(source), 3, init=str(tmp_path / "split.json"), pairs=40, iterations=1)
    assert again.solver.columns == 1
    begun = torch.tensor(again.training["start"]["table"]["times"], dtype=torch.float64)
    torch.testing.assert_close(begun, split.solver.times)


@pytest.mark.parametrize("budget", [1_100, 4_000, 15_000, 60_000])
@pytest.mark.parametrize("guidance", [0.0, 1.0])
def test_no_budget_is_exceeded_by_a_network_that_counts_for_itself(guidance: float, budget: int, tmp_path: Path) -> None:
    """Through all rungs of a ladder, and what there is room for is used."""
    model = Counted(blobs(), CondOT(), (36,)) if guidance == 0 else Counted(cross().mixture, CondOT(), (2,))
    model.seen = []
    source = PairSource(model, "counted", guidance, tolerance=1e-5, cache=tmp_path)

    def trained(nfe: int, allowed: Budget) -> SolverArtefact:
        def previous(below: int) -> SolverArtefact:
            return trained(below, allowed.part(LADDER_SHARE))

        return train_bns(Problem(source, previous=previous, effort=Effort(budget=allowed)), nfe, ladder="every")

    record = trained(5, Budget(forwards=budget)).training
    spent = sum(record["forwards"].values())
    assert spent == sum(model.seen) == record["budget"]["spent"]["forwards"]
    assert spent <= budget
    assert record["psnr"] > 20


def test_a_larger_budget_is_worth_it(wide: PairSource) -> None:
    found = []
    for budget in (1_500, 8_000, 40_000):
        made = train_bns(Problem(wide, effort=Effort(budget=Budget(forwards=budget))), 5, ladder="none")
        found.append(psnr(made.solver, wide.pairs("test", 128), 2.0))
    assert found[0] + 1 < found[1] < found[2]


def test_a_budget_of_time_ends_a_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock on which a forward takes a millisecond and all else nothing, whatever the machine's speed."""
    model, began = Counted(blobs(), CondOT(), (36,)), time.perf_counter()
    model.seen = []
    clock = SimpleNamespace(perf_counter=lambda: began + 1e-3 * sum(model.seen))
    monkeypatch.setattr("bnsbench.training.allowance.time", clock)

    def begin(allowance: Allowance) -> None:
        allowance.began, allowance.pace = began, 1e-3

    monkeypatch.setattr(Allowance, "__post_init__", begin)
    given = Problem(PairSource(model, "counted", tolerance=1e-5), effort=Effort(budget=Budget(seconds=10.0)))
    record = train_bns(given, 5, ladder="none").training
    assert 7.0 < record["budget"]["spent"]["seconds"] == pytest.approx(1e-3 * sum(model.seen))
    assert sum(model.seen) <= 10_000
    assert record["stopped"] == "the budget of 10 s has no room for more"


def test_a_gain_is_of_decibels_for_forwards(wide: PairSource) -> None:
    """The dearer forwards are, the earlier a training ends; a price that is no price goes on beyond the default."""
    spent = []
    for price in (5.0, 0.5, 0.02):
        record = train_bns(Problem(wide, effort=Effort(price=price)), 4, ladder="none").training
        spent.append(sum(record["forwards"].values()))
    assert spent[0] < spent[1] < spent[2]


def test_other_starts_keep_to_a_budget(wide: PairSource, tmp_path: Path) -> None:
    train_bns(problem(wide), 3, pairs=32, iterations=1).save(tmp_path / "bns3.json")
    for init in ("greedy", "euler", str(tmp_path / "bns3.json")):
        for optimiser in ("gauss-newton", "adam"):
            given = Problem(wide, effort=Effort(budget=Budget(forwards=20_000)))
            record = train_bns(given, 4, init=init, optimiser=optimiser).training
            assert sum(record["forwards"].values()) <= 20_000
            assert record["psnr"] > 20
