from __future__ import annotations

from collections.abc import Sequence

import pytest

from bnsbench.api.effort import Course, TrainingEstimate, effort_of, estimates
from bnsbench.api.named import named_model, open_host
from bnsbench.api.training import sources_of, trainable
from bnsbench.contract import Selection
from bnsbench.contract.specs import SolverSpec
from bnsbench.errors import UsageError
from bnsbench.training.budget import Budget
from bnsbench.training.problem import Effort
from bnsbench.truth.pairs import PairSource

HOST = open_host()


def solver(name: str) -> Selection[SolverSpec]:
    return trainable(HOST, name)


@pytest.fixture(scope="module")
def sources() -> list[PairSource]:
    return sources_of(named_model(HOST, "digits-gmm"), [0.0, 2.0])


def estimate(sources: Sequence[PairSource], nfe: int, name: str = "bns", effort: Effort | None = None) -> TrainingEstimate:
    (found,) = estimates(solver(name), sources, [nfe], effort)
    return found


def test_effort_is_the_default_where_nothing_is_asked_for(sources) -> None:
    assert effort_of(solver("bns"), sources) == Effort()
    assert effort_of(solver("bns[recipe=paper]"), sources) == Effort()


def test_a_budget_of_time_knows_the_network_s_pace(sources) -> None:
    forwards = effort_of(solver("gs"), sources, "20k").budget
    assert forwards == Budget(forwards=20_000)
    seconds = effort_of(solver("bns"), sources, "2min").budget
    assert seconds is not None
    assert seconds.seconds == 120
    assert 0 < seconds.pace < 0.01


@pytest.mark.parametrize(
    ("name", "asked", "words"),
    [
        ("bns", {"budget": "much"}, "A budget is a number of forwards"),
        ("bns", {"gain": 0.0}, "so many decibels above 0"),
        ("bns", {"gain": -1.0}, "so many decibels above 0"),
        ("bns[gain=0.001]", {"gain": 0.1}, "cannot both decide"),
        ("bns[optimiser=adam]", {"gain": 0.1}, "Adam goes to the end"),
        ("bns[recipe=paper]", {"budget": "50k"}, "takes neither a budget nor a gain"),
        ("tuned", {"budget": "50k"}, "takes neither a budget nor a gain"),
    ],
)
def test_what_cannot_be_is_refused(name: str, asked, words: str, sources) -> None:
    with pytest.raises(UsageError, match=words):
        effort_of(solver(name), sources, **asked)


def test_an_estimate_is_of_all_phases_and_smaller_budgets_get_less(sources) -> None:
    found = estimate(sources, 8)
    whole, *smaller = found.courses
    assert list(whole.phases) == ["truth", "start", "training", "validation"]
    assert all(count > 0 for count in whole.phases.values())
    assert whole.seconds == pytest.approx(found.speed.seconds * whole.forwards)
    assert whole.budget is None
    counts = [course.forwards for course in found.courses]
    assert counts == sorted(counts, reverse=True)
    assert all(course.forwards <= (course.budget or 0) for course in smaller)
    assert all(course.pairs <= whole.pairs for course in smaller)
    # The last one is the least that works.
    with pytest.raises(UsageError, match="too little"):
        estimate(sources, 8, effort=Effort(budget=Budget(forwards=0.9 * smaller[-1].forwards)))


def test_lower_rungs_are_part_of_it_unless_a_budget_has_no_room(sources) -> None:
    found = estimate(sources, 16)
    whole, least = found.courses[0], found.courses[-1]
    assert (whole.rungs, least.rungs) == ((8, 12), ())
    alone = estimate(sources, 16, "bns[ladder=none]").courses[0]
    assert alone.rungs == estimate(sources, 16, "bns[init=euler]").courses[0].rungs == ()
    assert alone.forwards < whole.forwards


def test_an_estimate_within_a_budget(sources) -> None:
    whole: Course = estimate(sources, 8, effort=Effort(budget=Budget(forwards=60_000))).courses[0]
    assert whole.budget == 60_000
    assert 20_000 < whole.forwards <= 60_000
    pace = 1e-3
    timed = estimate(sources, 8, effort=Effort(budget=Budget(seconds=1e9, pace=pace)))
    assert timed.courses[0].forwards == estimate(sources, 8).courses[0].forwards


def test_other_solvers(sources) -> None:
    paper = estimate(sources, 8, "bns[recipe=paper]")
    assert len(paper.courses) == 1
    assert paper.courses[0].forwards > 20_000_000
    assert estimate(sources, 4, "ld3").courses[0].forwards > 0
    with pytest.raises(UsageError, match="What 'tuned' costs is not known beforehand"):
        estimate(sources, 4, "tuned")


def test_json(sources) -> None:
    content = estimate(sources, 4).to_dict()
    assert content["forwards"] == sum(content["phases"].values())
    assert {"seconds", "batch", "memory"} == set(content["speed"])
    assert content["budgets"][-1]["budget"] < content["forwards"]


def test_a_second_stage_is_part_of_an_estimate_and_has_its_share_of_a_budget(sources) -> None:
    first, both = (estimate(sources, 3, name).courses[0] for name in ("bns", "bns[then=features]"))
    assert both.forwards > first.forwards
    assert both.phases["start"] == first.phases["start"]
    # A budget that has no room for it gives the first stage two thirds, and stays within.
    small = estimate(sources, 3, "bns[then=features]", Effort(budget=Budget(forwards=6_000))).courses[0]
    assert small.forwards <= 4_000
