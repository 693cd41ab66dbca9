"""docs/explanation/method.md: its numbers are those of the trainer."""

from __future__ import annotations

import pytest

from bnsbench.training import floor, teaching
from bnsbench.training.descent import Schedule
from bnsbench.training.distil import Choices
from bnsbench.training.optimisers import gauss_newton
from bnsbench.training.problem import DECIBELS_PER_NAT, FEW, FEW_DIMENSIONS, Effort
from bnsbench.training.recipes import start
from bnsbench.training.recipes.bns import LADDERS, LOW_RUNGS
from tests.docs.replay import ROOT

PAGE = " ".join((ROOT / "docs/explanation/method.md").read_text(encoding="utf-8").split())
WORDS = {1: "a", 2: "two", 3: "three", 4: "four", 6: "six", 7: "seven", 10: "ten", 20: "twenty"}


def listed(numbers: tuple[int, ...]) -> str:
    *first, last = map(str, numbers)
    return f"{', '.join(first)} and {last}"


EFFORT, MARGIN = Effort(), teaching.MARGIN
LOOSE, TIGHT = (f"{each:.0e}".replace("e-0", "e-") for each in teaching.TOLERANCES[:2])
((COUNT, STEPS, LEFT),) = EFFORT.race
FIRST, SECOND, THIRD, FOURTH = FEW.race
LOWEST, NEXT, *REST = LADDERS["standard"]
GROWTH, POOR, GOOD = gauss_newton.DAMPING_GROWTH, gauss_newton.POOR, gauss_newton.GOOD

PHRASES = {
    "floor": [
        f"{floor.BEGIN:g} at first, {floor.DECAY:g} times as much at every further iteration",
        f"and {Choices.floor:g} at last",
    ],
    "teachers": [
        f"long tables of {listed(teaching.LONG)} evaluations, of each number the best of {WORDS[len(teaching.RULES)]}:",
        *("UniPC of third order on steps of equal log-SNR from -5 to 5 or to 7,", "with the exponents 1.5 and 2,"),
        f"tolerances of {LOOSE}, {TIGHT} and so on down",
        f"measured on {teaching.PROBED} samples against a finer one",
        f"{MARGIN:.0f} dB better than the table so far",
        f"{100 * 10 ** (-MARGIN / 10):.0f} % of the table's own (10^-{MARGIN / 10:g})",
        f"within {teaching.LEAST_MARGIN:.0f} dB of its teacher",
    ],
    "race": [
        f"squares over {start.FOLLOWED} pairs",
        f"takes {WORDS[STEPS]} step of the descent below on {COUNT} pairs",
    ],
    "few dimensions": [
        f"In at most {FEW_DIMENSIONS} dimensions descents end in different places",
        f"{WORDS[len(FEW.race)]} rounds: {WORDS[FIRST[1]]} step on {FIRST[0]} pairs, {WORDS[SECOND[1]]} on {SECOND[0]},",
        f"of which {WORDS[SECOND[2]]} starts are left,",
        f"{WORDS[THIRD[1]]} on {THIRD[0]}, of which {WORDS[THIRD[2]]} are left,",
        f"and {WORDS[FOURTH[1]]} on {FOURTH[0]};",
        f"Legs are on {listed((*FEW.parts, FEW.pairs))} pairs, each taken where the excess (below)",
        f"is at least {FEW.least_excess:g} nats;",
        f"{FEW.validation} pairs validate; and {WORDS[FEW.patience]} iterations have to be slow,",
        f"or {WORDS[FEW.patience + 1]} without a gain there",
    ],
    "steps": [
        f"{WORDS[int(gauss_newton.GaussNewton.rows_per_parameter)]} rows per parameter",
        f"no more residuals than sketches, or {WORDS[gauss_newton.ONE_BY_ONE]} at most",
        f"one damping λ, {Schedule.damping:g} at first",
        f"gains nothing is tried again with {GROWTH:g} times the damping",
        f"gains less than {POOR:g} of what was foretold is tried with {GROWTH:g} times the damping, too",
        f"damped {gauss_newton.POOR_FACTOR:g} times as much where the step taken has gained less than {POOR:g}",
        f"{gauss_newton.GOOD_FACTOR:g} times as much where it has gained more than {GOOD:g}",
    ],
    "legs": [
        f"*legs* on {listed((*EFFORT.parts, EFFORT.pairs))} pairs",
        f"at least {EFFORT.least_excess} nats, a sixth of a decibel",
        f"after the first iteration that gains less than {Schedule.leaving_gain:g} nats",
        f"after {WORDS[EFFORT.patience]} in a row that gain less than {Schedule.slow_gain:g}",
        f"measured on {EFFORT.validation} validation pairs",
        f"{WORDS[EFFORT.patience + 1]} iterations in a row bring no gain",
        f"or at {EFFORT.enough:g} dB",
    ],
    "ladder": [
        f"What the table for {LOWEST} evaluations has learned",
        f"among the starts of the one for {NEXT}",
        f"goes on to {listed(tuple(REST))};",
        f"In at most {FEW_DIMENSIONS} dimensions the ladder begins at {LOW_RUNGS[0]}.",
    ],
}


@pytest.mark.parametrize("subject", PHRASES)
def test_the_page_says_how_the_trainer_is_set(subject: str) -> None:
    missing = [phrase for phrase in PHRASES[subject] if phrase not in PAGE]
    assert missing == []


def test_what_the_page_says_in_words_is_so() -> None:
    assert DECIBELS_PER_NAT * EFFORT.least_excess == pytest.approx(1 / 6, abs=0.01)
    assert (LEFT, FOURTH[2]) == (1, 1)
    assert FIRST[2] >= 5  # all starts that there may be
    assert list(teaching.RULES) == [
        "unipc of order 3 on logsnr:-5:5",
        "unipc of order 3 on logsnr:-5:7",
        "ab4 on kumaraswamy:1.5:2",
    ]
