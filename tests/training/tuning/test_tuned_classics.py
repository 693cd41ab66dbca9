"""Tuned classics, on an exact mixture in the plane."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from bnsbench.contract import PluginHost
from bnsbench.errors import NotApplicableError, UsageError
from bnsbench.nonstationary.tracing import trace
from bnsbench.solvers.adams_bashforth import ab3
from bnsbench.training.problem import Classic, Cost, Problem, TrainingStatus
from bnsbench.training.tuning.grid_search import Heat, Judge, Ranking
from bnsbench.training.tuning.tuned_classics import PAIRS, tune, tune_rule, tuned_classics
from bnsbench.truth.mixed_source import MixedSource
from bnsbench.truth.noise import Split
from bnsbench.truth.pairs import Pairs
from bnsbench.truth.psnr import psnr_per_sample
from tests.training.toys import cross_source

SOURCE = cross_source()
SPLITS: tuple[Split, ...] = ("train", "validation")
N = 6


def psnr_on_test(solver) -> float:
    pairs = SOURCE.pairs("test", 256)
    return float(psnr_per_sample(solver(pairs.field, pairs.x0), pairs.x1, 2.0).mean())


def test_a_tuned_rule_is_that_rule_on_the_grid_that_it_names() -> None:
    made = tune_rule(Problem(SOURCE), N, "ab3")
    record = made.training
    expected = trace(lambda field, x0: ab3(field, x0, N, grid=record["selector"]), made.path, made.interval)
    torch.testing.assert_close(made.solver.times, expected.times)
    torch.testing.assert_close(made.solver.b, expected.b)
    assert record["rule"] == "ab3"
    assert record["kind"] == "tuned"
    assert record["grid"].split()[0] in {"Kumaraswamy", "log-SNR", "inner", "Karras", "shift"}


def test_it_is_better_on_fresh_noise_than_the_plain_rule() -> None:
    plain = trace(lambda field, x0: ab3(field, x0, N), SOURCE.model.path)
    assert psnr_on_test(tune_rule(Problem(SOURCE), N, "ab3").solver) > psnr_on_test(plain) + 1


def test_the_best_rule_is_about_as_good_as_the_best_of_all_tuned_rules() -> None:
    best = tune(Problem(SOURCE), N)
    each = {rule: tune_rule(Problem(SOURCE), N, rule).training["psnr"] for rule in ("ab2", "ab3", "ipndm[order=3]", "deis")}
    ranked = sorted(each.values())
    assert best.training["psnr"] > ranked[-1] - 3 > ranked[-2] + 10  # iPNDM's third order stands out here
    assert best.training["rule"] == max(each, key=lambda rule: each[rule])


def test_the_choice_is_among_the_rules_that_are_asked_for() -> None:
    made = tune(Problem(SOURCE), 4, rules="euler dpm++2m[lower_order_final=false]")
    assert made.training["rule"] in {"euler", "dpm++2m[lower_order_final=false]"}


def test_the_record_counts_ground_truth_search_and_choice() -> None:
    record = tune_rule(Problem(SOURCE), N, "ab2").training
    source = SOURCE.coarser(1e-5, PAIRS)
    truth = sum(source.pairs(split, PAIRS).nfe * PAIRS for split in SPLITS)
    forwards = record["forwards"]
    assert forwards["teacher"] == SOURCE.forwards_per_evaluation * truth
    assert forwards["training"] > SOURCE.forwards_per_evaluation * N * record["candidates"] * 4
    assert forwards["validation"] == SOURCE.forwards_per_evaluation * N * PAIRS * len(record["finalists"])
    assert {each["rule"] for each in record["finalists"]} == {record["rule"]}


def test_the_search_tells_how_far_it_is() -> None:
    told: list[TrainingStatus] = []
    record = tune_rule(Problem(SOURCE, progress=told.append), N, "ab2").training
    truth = SOURCE.forwards_per_evaluation * sum(SOURCE.coarser(1e-5, PAIRS).pairs(s, PAIRS).nfe * PAIRS for s in SPLITS)
    assert {(status.nfe, status.stage) for status in told} == {(N, "grid search")}
    seen = [status.iteration for status in told]
    assert seen == sorted(set(seen))
    assert seen[-1] == record["candidates"] < told[-1].total
    assert len({status.total for status in told}) == 1
    # The first batch is told before it is paid for; in the end everything is.
    spent = [status.forwards for status in told]
    assert spent == sorted(spent)
    assert (spent[0], told[1].forwards) == (truth, truth + SOURCE.forwards_per_evaluation * N * 2 * seen[0])
    assert spent[-1] == sum(record["forwards"].values())


@pytest.mark.parametrize(
    ("guidance", "pairs", "expected"),
    [(0.0, 8, [1, 6, 8]), (0.0, 5, [1, 5, 5]), ((0.0, 1.0, 2.0), 8, [3, 6, 8]), ((0.0, 1.0, 2.0), 4, [3, 4, 4])],
    ids=str,
)
def test_heats_take_no_more_pairs_than_there_are_and_one_of_every_scale_at_least(
    guidance: float | tuple[float, ...], pairs: int, expected: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last heat takes all of them, whatever it says itself."""
    asked: list[Heat] = []

    def search(judge: Judge, start: object, train: Pairs, validation: Pairs, heats: Sequence[Heat], cost: Cost) -> Ranking:
        asked.extend(heats)
        assert len(train) == len(validation) == pairs
        return Ranking((), {})

    monkeypatch.setattr("bnsbench.training.tuning.tuned_classics.search", search)
    source = SOURCE if isinstance(guidance, float) else MixedSource.of(SOURCE, guidance)
    heats = (Heat(1, 0.1), Heat(6, 0.2, leaders=1), Heat(2, 0.3, leaders=2, rounds=3))
    found = tuned_classics(Problem(source), 4, ["euler"], pairs, heats)
    assert asked == [replace(heat, pairs=count) for heat, count in zip(heats, expected, strict=True)]
    assert (found.pairs, found.seen) == (pairs, 0)


def test_rules_that_cannot_spend_the_budget_are_left_out() -> None:
    found = tuned_classics(Problem(SOURCE), 5).ranking.by_rule
    assert "rk4" not in found
    assert "ab3" in found
    with pytest.raises(NotApplicableError, match="None of the rules rk4 can spend 5"):
        tune(Problem(SOURCE), 5, rules="rk4")


def test_rules_without_a_grid_and_unknown_ones_are_refused() -> None:
    with pytest.raises(NotApplicableError, match="takes no time grid"):
        tune_rule(Problem(SOURCE, classic=lambda name: Classic(ab3, 0)), N, "fixed")
    with pytest.raises(UsageError, match="no built-in solver 'magic'"):
        tune(Problem(SOURCE), N, rules="magic")
    with pytest.raises(UsageError, match="4 pairs or more, not 2"):
        tune_rule(Problem(SOURCE), N, "ab2", pairs=2)


def test_a_single_evaluation_has_no_grid_to_choose() -> None:
    made = tune(Problem(SOURCE), 1)
    assert made.solver.nfe == 1


def test_best_grids_are_reached_by_selector() -> None:
    host = PluginHost.load()
    selection = host.solver("ipndm[order=3,grid=best]")
    assert (selection.spec.kind, selection.name) == ("tuned", "ipndm[grid=best,order=3]")
    assert selection.spec.version != host.solver("ipndm[order=3]").spec.version
    made = selection.make()(Problem(SOURCE, classic=None), N)
    assert made.training["rule"].endswith("ipndm[order=3]")
    assert host.solver("bns").spec.kind == "trained"
    with pytest.raises(UsageError, match="no time grid 'beast'"):
        host.solver("ab2[grid=beast]").make()(SOURCE.field(torch.arange(2)), SOURCE.initial("test", torch.arange(2)), 4)
