"""What a training is given and what it costs, with numbers that are counted by hand."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from pathlib import Path

import pytest

from bnsbench.training.known_choices import FAMILIES
from bnsbench.training.problem import FEW, FEW_DIMENSIONS, Cost, Effort, Problem, TrainingStatus, ValidationCurve
from tests.training.toys import cross_source, euler_table

METHOD = Path(__file__).parents[2] / "docs" / "explanation" / "method.md"
GUIDED, PLAIN = cross_source(guidance=1.0), cross_source()
"""Sources whose evaluations are two forwards of the network, and one."""


def spent(training: int, validation: int, features: int, **truths: int) -> Cost:
    return Cost(training, validation, truths, features)


def test_as_much_is_done_as_the_documents_say() -> None:
    effort = Effort()
    said = [option.meaning for family in FAMILIES for option in family.options if option.name == "pairs"]
    most = f"{effort.pairs} at most ({FEW.pairs:,} in up to {FEW_DIMENSIONS} dimensions)"
    assert sum(text.endswith(f"0 for as many as gain, {most}") for text in said) == len(FAMILIES) - 1  # not of a search
    method = " ".join(METHOD.read_text().split())
    *parts, last = (*effort.parts, effort.pairs)
    assert f"in *legs* on {', '.join(map(str, parts))} and {last} pairs" in method
    assert f"only where the excess is at least {effort.least_excess} nats, a sixth of a decibel" in method
    assert f"is measured on {effort.validation} validation pairs" in method
    assert f"or at {effort.enough:g} dB" in method


def test_pairs_grow() -> None:
    effort = Effort()
    assert list(effort.parts) == sorted(set(effort.parts))
    assert effort.parts[-1] < effort.pairs


def test_whoever_listens_is_told_and_nobody_has_to() -> None:
    told: list[TrainingStatus] = []
    status = TrainingStatus(nfe=3, stage="test", iteration=1, total=2, psnr=30.0)
    assert (status.damping, status.loss, status.forwards) == (None, None, 0)
    Problem(PLAIN, progress=told.append).report(status)
    Problem(PLAIN).report(status)
    assert told == [status]


def test_an_artefact_says_where_it_is_from_and_how_long_it_took() -> None:
    source = cross_source(guidance=2.0, seed=5)
    made = Problem(source).artefact("bns", euler_table(3), {"pairs": 7}, time.perf_counter() - 100.0)
    assert (made.name, made.model, made.guidance, made.interval) == ("bns", "cross", 2.0, (0.0, 1.0))
    assert (made.path, made.fingerprint) == (source.model.path, source.model.fingerprint())
    assert made.solver.fingerprint() == euler_table(3).fingerprint()
    assert {**made.training, "seconds": 0.0} == {"seed": 5, "pairs": 7, "seconds": 0.0}
    assert 100.0 <= made.training["seconds"] < 160.0


def test_nothing_is_spent_at_first() -> None:
    assert Cost() == spent(0, 0, 0)
    assert Cost().teacher == 0
    assert Cost().forwards(GUIDED) == {"teacher": 0, "training": 0, "validation": 0}


def test_a_truth_costs_what_the_larger_of_its_sets_has_cost() -> None:
    pairs, cost = PLAIN.pairs("train", 4), Cost()
    for evaluations in (100, 300, 200):
        cost.truth("train", replace(pairs, truth_evaluations=evaluations))
    cost.truth("validation", replace(pairs, truth_evaluations=50))
    cost.truth("given", replace(pairs, truth_evaluations=0))
    assert cost.truths == {"train": 300, "validation": 50, "given": 0}
    assert cost.teacher == 350


def test_two_rungs_cost_their_sum_and_a_truth_that_both_have_used_once() -> None:
    upper, lower = spent(10, 20, 30, both=5, upper=7), spent(1, 2, 3, both=6, lower=8)
    together = spent(11, 22, 33, both=6, upper=7, lower=8)
    assert upper.with_lower(lower) == lower.with_lower(upper) == together
    assert upper.with_lower(Cost()) == upper
    assert spent(0, 0, 0, upper=0).with_lower(spent(0, 0, 0, lower=0)) == spent(0, 0, 0, upper=0, lower=0)
    assert (upper, lower) == (spent(10, 20, 30, both=5, upper=7), spent(1, 2, 3, both=6, lower=8))
    upper.add(lower)
    assert upper == together


def test_forwards_are_those_of_the_network_and_of_the_extractor_if_there_is_one() -> None:
    cost = spent(10, 20, 30, a=1, b=2)
    for source, each in ((GUIDED, 2), (PLAIN, 1)):
        own = {"teacher": each * 3, "training": each * 10, "validation": each * 20}
        assert cost.forwards(source) == {**own, "features": 30}
        assert replace(cost, features=0).forwards(source) == own


def test_a_record_gives_back_what_was_spent() -> None:
    cost = spent(10, 20, 30, a=1, b=2)
    for source in (GUIDED, PLAIN):
        assert Cost.of(cost.record(source), source) == cost
        # Records of other software and of older versions have forwards alone, or nothing.
        bare = Cost.of({"forwards": cost.forwards(source)}, source)
        assert (bare.training, bare.validation, bare.teacher, bare.features) == (10, 20, 3, 30)
        nothing = Cost.of({}, source)
        assert (nothing.training, nothing.validation, nothing.teacher, nothing.features) == (0, 0, 0, 0)


def test_restored_counts_are_those_saved_and_no_longer_tied_to_them() -> None:
    cost, again = spent(10, 20, 30, a=1), Cost()
    saved = cost.to_dict()
    again.restore(saved)
    assert again == cost
    again.truths["a"] = 9
    assert saved["truths"] == cost.truths == {"a": 1}


@pytest.mark.parametrize(("psnr", "drawn"), [(30.123449, 30.1234), (30.12346, 30.1235)])
def test_a_curve_s_points_have_four_decimals(psnr: float, drawn: float) -> None:
    curve = ValidationCurve()
    curve.add(spent(10, 20, 30), psnr, loss=1.5)
    assert curve.points == [{"evaluations": 10, "psnr": drawn, "loss": 1.5}]
    assert re.fullmatch(r"\d+\.\d{4}", repr(curve.points[0]["psnr"]))
