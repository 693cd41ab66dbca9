"""docs/explanation/method.md: its numbers are those of the trainer."""

from __future__ import annotations

import pytest

from bnsbench.training import floor, teaching
from bnsbench.training.descent import Schedule
from bnsbench.training.distil import CHECKS, Choices
from bnsbench.training.optimisers import gauss_newton
from bnsbench.training.problem import DECIBELS_PER_NAT, Effort
from bnsbench.training.recipes import start
from bnsbench.training.recipes.bns import LADDERS, LOW_RUNGS
from tests.docs.replay import ROOT

PAGE = " ".join((ROOT / "docs/explanation/method.md").read_text(encoding="utf-8").split())
WORDS = {1: "a", 2: "two", 3: "three", 4: "four", 5: "five", 8: "eight"}


def listed(numbers: tuple[int, ...]) -> str:
    *first, last = map(str, numbers)
    return f"{', '.join(first)} and {last}"


def test_the_floor_falls_as_the_page_says() -> None:
    assert f"{floor.BEGIN:g} at first, {floor.DECAY:g} times as much at every further iteration" in PAGE
    assert f"and {Choices.floor:g} at last" in PAGE


def test_teachers_are_those_of_the_page() -> None:
    assert f"long tables of {listed(teaching.LONG)} evaluations" in PAGE
    first, second = (f"{each:.0e}".replace("e-0", "e-") for each in teaching.TOLERANCES[:2])
    assert f"tolerances of {first}, {second} and so on down" in PAGE
    assert f"measured on {teaching.PROBED} samples against a finer one" in PAGE
    assert f"{teaching.MARGIN:.0f} dB better than the table so far" in PAGE
    assert f"{100 * 10 ** (-teaching.MARGIN / 10):.0f} % of the table's own (10^-{teaching.MARGIN / 10:g})" in PAGE
    assert f"within {teaching.LEAST_MARGIN:.0f} dB of its teacher" in PAGE


def test_the_race_is_that_of_the_page() -> None:
    ((count, steps, left),) = start.ROUNDS
    first, second, third = start.FEW_ROUNDS
    assert (first[:2], left) == ((count, steps), 1)
    assert f"squares over {start.FOLLOWED} pairs" in PAGE
    assert f"takes {WORDS[steps]} step of the descent below on {count} pairs" in PAGE
    assert f"In at most {start.FEW_DIMENSIONS} dimensions descents end in different places" in PAGE
    assert f"{WORDS[second[1]]} steps on {second[0]} pairs, of which {WORDS[second[2]]} starts are left" in PAGE
    assert f"and {WORDS[third[1]]} on {third[0]}." in PAGE


def test_the_steps_are_those_of_the_page() -> None:
    assert f"{WORDS[int(gauss_newton.GaussNewton.rows_per_parameter)]} rows per parameter" in PAGE
    assert f"no more residuals than sketches, or {WORDS[gauss_newton.ONE_BY_ONE]} at most" in PAGE


def test_the_legs_are_those_of_the_page() -> None:
    effort = Effort()
    assert f"*legs* on {listed((*effort.parts, effort.pairs))} pairs" in PAGE
    assert f"at least {effort.least_excess} nats, a tenth of a decibel" in PAGE
    assert DECIBELS_PER_NAT * effort.least_excess == pytest.approx(0.1, abs=0.01)
    slow = WORDS[Schedule.slow_iterations]
    assert f"after {slow} iterations in a row that gain less than {Schedule.leaving_gain:g} nats" in PAGE
    assert f"after {slow} that gain less than {Schedule.slow_gain:g}" in PAGE
    assert f"measured on {effort.validation} validation pairs" in PAGE
    assert f"{WORDS[CHECKS]} iterations in a row bring no gain" in PAGE
    assert f"or at {effort.enough:g} dB" in PAGE


def test_the_ladder_is_that_of_the_page() -> None:
    lowest, second, *rest = LADDERS["standard"]
    assert f"What the table for {lowest} evaluations has learned" in PAGE
    assert f"among the starts of the one for {second}" in PAGE
    assert f"goes on to {listed(tuple(rest))};" in PAGE
    assert f"In at most {start.FEW_DIMENSIONS} dimensions the ladder begins at {LOW_RUNGS[0]}." in PAGE
