from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from bnsbench.flows.fields import FunctionField
from bnsbench.flows.paths import CondOT
from bnsbench.nonstationary.table import NonStationarySolver
from bnsbench.training.descent import ACCURATE, CONVERGED, IDLE, SPENT, Descent, Leg, Schedule, State
from bnsbench.training.families.parametrisation import FreeTable
from bnsbench.training.objectives import make_objective
from bnsbench.training.optimisers.checkpoint import Checkpoint
from bnsbench.training.optimisers.gauss_newton import GaussNewton, Iterate
from bnsbench.training.optimisers.selection import IterateSelection
from bnsbench.training.problem import Cost, Problem
from bnsbench.training.teaching import Teaching
from bnsbench.truth.noise import Split
from bnsbench.truth.pairs import Pairs, PairSource
from bnsbench.truth.psnr import psnr_per_sample
from tests.training.toys import as_model_field, bend, euler_table, plain_states, plane_source

N, COUNT = 3, 24
LONG = "bnsbench.training.teaching.LONG"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> PairSource:
    """A field that is quick to evaluate, its pairs solved once."""
    return plane_source(bend, cache=tmp_path_factory.mktemp("pairs"))


@pytest.fixture(autouse=True)
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let there be one teacher, the finest, where a test does not ask for more."""
    monkeypatch.setattr(LONG, ())


def descent(
    legs: Sequence[Leg], source: PairSource, *, objective: str = "log-mse", patience: int = 99, floor: float = 0.1
) -> Descent:
    """A descent whose floor comes down to 0.1; at 1 it stays where it begins, so that every iteration may be slow."""
    aim, problem, cost = make_objective(objective, None), Problem(source), Cost()
    teaching = Teaching(problem, cost)
    validation = teaching.pairs("validation", COUNT, aim.whole)
    return Descent(
        family=FreeTable(euler_table(N)),
        objective=aim,
        legs=legs,
        teaching=teaching,
        along=aim.whole,
        selection=IterateSelection(problem, aim, validation, N, cost, patience=patience, floor=floor),
        floor=floor,
        enough=math.inf,
        seed=0,
        derivative="backward",
        precision=torch.float64,
    )


NEVER_SLOW = Schedule(iterations=2, slow_gain=-math.inf, leaving_gain=-math.inf)


def two_legs() -> list[Leg]:
    """A leg on a few pairs over the rows alone, and one on all of them over everything."""
    rows = torch.arange(N - 1, len(FreeTable(euler_table(N)).start()))
    return [Leg(8, rows, NEVER_SLOW), Leg(COUNT, None, NEVER_SLOW)]


def all_states(made: Descent) -> list[State]:
    return list(made.steps(State(made.family.start())))


def test_every_leg_yields_its_start_and_every_iteration(source: PairSource) -> None:
    made = descent(two_legs(), source)
    states = all_states(made)
    assert [(state.leg, state.iterations, state.iterations_in_leg) for state in states] == [
        (0, 0, 0),
        (0, 1, 1),
        (0, 2, 2),
        (1, 2, 0),
        (1, 3, 1),
        (1, 4, 2),
    ]
    assert [point["iteration"] for point in made.selection.curve.points] == [0, 1, 2, 2, 3, 4]
    assert made.why_stopped(states[-1]) == SPENT
    # The parameters that are not free stay, but for the last row that every leg over it solves.
    assert torch.equal(states[2].theta[: N - 1], made.family.start()[: N - 1])
    assert not torch.equal(states[-1].theta[: N - 1], made.family.start()[: N - 1])


def test_a_leg_is_on_so_many_pairs_of_the_training_split(source: PairSource, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Tensor] = []
    step = GaussNewton.step

    def watching(self: GaussNewton, iterate: Iterate, iteration: int, damping: float) -> tuple[Iterate, float]:
        seen.append(self.pairs.x0)
        return step(self, iterate, iteration, damping)

    monkeypatch.setattr(GaussNewton, "step", watching)
    all_states(descent(two_legs(), source))
    everything = source.pairs("train", COUNT).x0
    assert [len(x0) for x0 in seen] == [8, 8, COUNT, COUNT]
    assert all(torch.equal(x0, everything[: len(x0)]) for x0 in seen)


CHANGES = {"one": (), "several": (4, 5, 8)}
"""Teachers: the finest alone, or long tables of so few evaluations that their students outgrow them on the way."""


@pytest.mark.parametrize("teachers", CHANGES)
@pytest.mark.parametrize("objective", ["log-mse", "soft-log-mse", "trajectory"])
def test_from_every_state_the_descent_goes_on_to_the_same_end(
    objective: str, teachers: str, source: PairSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state's level decides the truth that it goes on with."""
    monkeypatch.setattr(LONG, CHANGES[teachers])
    legs = [*two_legs(), Leg(COUNT + 8, None, NEVER_SLOW)]
    whole = descent(legs, source, objective=objective)
    states, kept = [], []
    for state in whole.steps(State(whole.family.start())):
        states.append(state)
        kept.append(whole.selection.state())
        kept[-1]["curve"] = list(kept[-1]["curve"])
    levels = [state.level for state in states]
    assert (levels[-1] > levels[0]) == (teachers == "several")
    for k, (state, found) in enumerate(zip(states, kept, strict=True)):
        again = descent(legs, source, objective=objective)
        again.teaching.level = state.level
        again.selection.pairs = again.teaching.pairs("validation", COUNT, again.along)
        again.selection.restore(found)
        rest = list(again.steps(state))
        assert len(rest) == len(states) - k - 1
        for resumed, before in zip(rest, states[k + 1 :], strict=True):
            assert torch.equal(resumed.theta, before.theta)
            assert replace(resumed, theta=before.theta, noise=before.noise) == before
        assert again.selection.cost == whole.selection.cost
        assert again.selection.curve == whole.selection.curve


def test_a_state_survives_its_file(tmp_path) -> None:
    checkpoint = Checkpoint(tmp_path / "state.pt")
    for noise in (None, torch.randn(3, 2, dtype=torch.float64)):
        state = State(torch.arange(3.0), leg=1, iterations=7, iterations_in_leg=2, damping=1e-4, slow=1, noise=noise)
        state = replace(state, gained=0.2, still=3, rejected=4, excess=0.1, floor=1e-5, level=2)
        checkpoint.save({**state.to_dict(), "selection": "kept beside it"})
        saved = checkpoint.load()
        assert saved is not None
        found = State.from_dict(saved)
        assert found is not None
        assert torch.equal(found.theta, state.theta)
        assert (found.noise is None) == (noise is None)
        assert replace(found, theta=state.theta, noise=noise) == state


def test_a_state_of_another_version_is_none() -> None:
    saved = State(torch.zeros(2)).to_dict()
    del saved["slow"]
    assert State.from_dict({**saved, "idle": 0}) is None


def test_a_leg_converges_after_slow_iterations_in_a_row(source: PairSource) -> None:
    for slow_iterations in (1, 3):
        schedule = Schedule(slow_iterations=slow_iterations, slow_gain=math.inf)
        made = descent([Leg(COUNT, None, schedule)], source, floor=1.0)
        *_, end = all_states(made)
        assert (end.iterations, end.slow) == (slow_iterations, slow_iterations)
        assert made.why_stopped(end) == CONVERGED


def tell(monkeypatch: pytest.MonkeyPatch, losses: Iterable[float], *excess: float) -> None:
    """Tell the losses that steps lead to, from 8 on whatever floor there is, and the excess that each finds."""
    coming, found = iter(losses), itertools.chain(excess, itertools.repeat(math.inf))
    evaluate = GaussNewton.evaluate
    monkeypatch.setattr(GaussNewton, "evaluate", lambda self, theta: replace(evaluate(self, theta), loss=8.0))
    monkeypatch.setattr(GaussNewton, "under", lambda self, floor, iterate: iterate)

    def step(self: GaussNewton, iterate: Iterate, iteration: int, damping: float) -> tuple[Iterate, float]:
        self.excess = next(found)
        return replace(iterate, loss=next(coming)), damping

    monkeypatch.setattr(GaussNewton, "step", step)


def test_an_iteration_is_slow_if_it_gains_less_than_the_schedule_says(
    source: PairSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Losses that are told: a gain of just as much is not slow, and starts the count anew."""
    told = {7.0: 0, 6.875: 1, 6.625: 0, 6.625 + 2**-40: 1, 6.5: 2, 5.5: 0, 5.375: 1, 5.25: 2, 5.125: 3}
    tell(monkeypatch, told)
    made = descent([Leg(COUNT, None, Schedule(slow_iterations=3, slow_gain=0.25))], source, floor=1.0)
    start, *states = all_states(made)
    assert start.slow == 0
    assert [state.slow for state in states] == list(told.values())
    assert made.why_stopped(states[-1]) == CONVERGED


def test_no_iteration_is_slow_or_gains_too_little_while_the_floor_comes_down(source: PairSource) -> None:
    """At shares 1, 0.3 and 0.09 of the median error, under a last one of 0.05."""
    schedule = Schedule(slow_iterations=2, slow_gain=math.inf)
    start, *states = all_states(descent([Leg(COUNT, None, schedule)], source, floor=0.05))
    assert (start.slow, start.gained) == (0, math.inf)
    assert [state.slow for state in states] == [0, 0, 0, 1, 2]
    assert [math.isinf(state.gained) for state in states] == [True, True, True, False, False]
    # So that a leg which another one follows ends at the fourth iteration, whatever it gains.
    schedule = replace(schedule, leaving_gain=math.inf)
    states = all_states(descent([Leg(8, None, schedule), Leg(COUNT, None, schedule)], source, floor=0.05))
    assert [state.iterations_in_leg for state in states] == [0, 1, 2, 3, 4, 0, 1, 2]


def test_iterations_at_which_nothing_helps_are_counted(source: PairSource, monkeypatch: pytest.MonkeyPatch) -> None:
    tell(monkeypatch, [7.0, 7.0, 6.5, 6.5, 6.5, 6.0])
    made = descent([Leg(COUNT, None, replace(NEVER_SLOW, iterations=3))] * 2, source)
    assert [state.still for state in all_states(made)] == [0, 0, 1, 1, 1, 1, 2, 2]  # every leg's first from 8


def tell_validated(monkeypatch: pytest.MonkeyPatch, gains: Iterable[float]) -> None:
    """Tell the losses that checks find on the validation pairs, by these gains of the iterations."""
    coming, check, losses = iter(gains), IterateSelection.check, [9.0]

    def told(self: IterateSelection, table: NonStationarySolver, stage: str, iteration: int, *rest: Any) -> float:
        begins = bool(self.curve.points) and self.curve.points[-1]["iteration"] == iteration
        check(self, table, stage, iteration, *rest)
        gain = 0.0 if begins or iteration == 0 else next(coming)
        if gain == -math.inf:
            return math.inf  # states that are no numbers
        losses.append(losses[-1] - gain)
        return losses[-1]

    monkeypatch.setattr(IterateSelection, "check", told)


def test_an_iteration_is_judged_by_the_one_before_and_not_by_rivals(source: PairSource) -> None:
    """As long as a rival is ahead, the best table so far does not change."""
    schedule = replace(NEVER_SLOW, iterations=4)
    alone, behind = (descent([Leg(8, None, schedule)], source, floor=1.0) for _ in range(2))
    rival = all_states(descent([Leg(COUNT, None, replace(NEVER_SLOW, iterations=12))], source))[-1]
    behind.selection.check(behind.family.table(rival.theta), "start", 0, 1)
    gains = [[state.gained for state in all_states(made)] for made in (alone, behind)]
    assert gains[0] == gains[1]
    assert 0 < gains[0][1] < math.inf


@pytest.mark.parametrize("excess", [0.024, 0.025, 0.5])
def test_a_leg_on_more_pairs_is_taken_only_if_parameters_lose_enough_without(
    excess: float, source: PairSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And if it is, the one before is left as soon as an iteration gains less than the next may."""
    gain, follows = 0.02, excess >= 0.025  # too little for a leg that another one follows, and not slow for the last
    schedule = Schedule(iterations=5, slow_iterations=2, slow_gain=0.01, leaving_gain=0.03)
    losses = [7.5 - gain * k for k in range(5)]
    tell(monkeypatch, [*losses[:2], *losses] if follows else losses, *[excess] * 10)
    tell_validated(monkeypatch, itertools.repeat(1.0))
    made = descent([Leg(8, None, schedule), Leg(COUNT, None, schedule, least_excess=0.025)], source, floor=1.0)
    states = all_states(made)
    assert [state.leg for state in states] == ([0] * 3 + [1] * 6 if follows else [0] * 6)
    if follows:
        left, begun = states[2], states[3]
        assert left.gained == pytest.approx(gain)
        assert (left.slow, left.excess) == (0, excess)
        assert made.why_stopped(left) == CONVERGED + "; more training pairs would gain less than 0.11 dB"
        assert (begun.gained, begun.slow) == (math.inf, 0)
    assert made.why_stopped(states[-1]) == SPENT


@pytest.mark.parametrize(
    ("trained", "validated", "left"),
    [
        ((0.5, 0.25, 0.125), (1.0, 1.0, 1.0), 3),
        ((1.0, 1.0, 1.0), (0.5, 0.25, 0.125), 3),
        ((0.5, 0.125, 1.0), (0.5, 0.5, 0.5), 2),
        ((0.5, 1.0, 0.5), (0.25, -1.0, 1.0), 2),
        ((0.5, 0.5, 0.5), (-math.inf, 1.0, 1.0), 1),
        ((0.25, 0.25, 0.25), (0.25, 0.25, 0.25), None),
    ],
    ids=["training", "validation", "training once", "validation once", "astray", "as much as that"],
)
def test_a_leg_that_another_follows_is_left_at_the_first_small_gain_on_either_pairs(
    trained: tuple[float, ...],
    validated: tuple[float, ...],
    left: int | None,
    source: PairSource,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Less than a quarter of a nat, that is; a last leg stays for as many slow ones as it may."""
    schedule = Schedule(iterations=3, slow_iterations=9, slow_gain=0.25, leaving_gain=0.25)
    losses = [8.0 - sum(trained[: k + 1]) for k in range(3)]
    for legs in ([Leg(8, None, schedule), Leg(COUNT, None, replace(schedule, iterations=0))], [Leg(8, None, schedule)]):
        with monkeypatch.context() as patch:
            tell(patch, losses)
            tell_validated(patch, validated)
            made = descent(legs, source, floor=1.0)
            states = [state for state in all_states(made) if state.leg == 0]
        gained = [min(each) for each in zip(trained, validated, strict=True)]
        goes_on = len(legs) == 2
        assert [state.gained for state in states] == [math.inf, *gained[: left if goes_on else None]]
        reason = CONVERGED + "; more training pairs would gain less than 0 dB" if goes_on and left else SPENT
        assert made.why_stopped(states[-1]) == reason


def test_the_first_leg_is_taken_in_any_case_and_those_after_one_left_out_are_not(
    source: PairSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell(monkeypatch, [8.0] * 9, *[0.1] * 9)
    schedule = Schedule(slow_iterations=1)
    legs = [Leg(8, None, schedule, 9.0), Leg(12, None, schedule, 0.1), Leg(16, None, schedule, 0.2), Leg(20, None, schedule)]
    made = descent(legs, source, floor=1.0)
    states = all_states(made)
    assert [state.leg for state in states] == [0, 0, 1, 1]
    assert made.why_stopped(states[-1]) == CONVERGED + "; more training pairs would gain less than 0.87 dB"


def test_the_excess_is_what_the_leg_s_last_system_found(source: PairSource) -> None:
    made = descent(two_legs(), source)
    start, *states = all_states(made)
    assert start.excess == math.inf
    assert all(0 < state.excess < 100 for state in states)
    # Of three times as many pairs, about a third.
    assert 2 < states[1].excess / states[-1].excess < 20


@pytest.mark.parametrize("missed", [0.0, 1e-9])
def test_it_ends_at_the_very_accuracy_that_is_asked_for(missed: float, source: PairSource) -> None:
    """A state that has it is the last one, and no leg begins any more."""
    made = descent([Leg(COUNT, None, Schedule(iterations=1))] * 2, source)
    start = next(iter(made.steps(State(made.family.start()))))
    table, validation = made.family.table(start.theta), made.selection.pairs
    end = plain_states(table, validation.field, validation.x0)[-1]
    reached = made.selection.best_psnr
    assert reached == pytest.approx(float(psnr_per_sample(end, validation.x1, 2.0).mean()), abs=1e-9)
    again = replace(descent(made.legs, source), enough=reached + missed)
    states = all_states(again)
    assert (len(states) == 1) == (missed == 0)
    assert again.why_stopped(states[-1]) == ACCURATE.format(reached)


def watched_thetas(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Return the list to which every step adds the parameters that it begins at."""
    seen: list[Tensor] = []
    step = GaussNewton.step

    def watching(self: GaussNewton, iterate: Iterate, iteration: int, damping: float) -> tuple[Iterate, float]:
        seen.append(iterate.theta)
        return step(self, iterate, iteration, damping)

    monkeypatch.setattr(GaussNewton, "step", watching)
    return seen


def tell_error(made: Descent, error: float) -> None:
    """Tell how exact the first teacher is."""
    made.teaching.measured[0] = made.teaching.teacher, error


@pytest.mark.parametrize("outgrown", [True, False])
def test_where_the_student_comes_near_its_truth_a_finer_one_takes_over_and_the_descent_goes_on_from_there(
    outgrown: bool, source: PairSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the middle of a leg, within 10 dB of the teacher's own error, which is told."""
    monkeypatch.setattr(LONG, (6,))
    legs = [Leg(COUNT, None, replace(NEVER_SLOW, iterations=4))]

    def made(error: float) -> Descent:
        fresh = descent(legs, source)
        tell_error(fresh, error)
        return fresh

    seen = watched_thetas(monkeypatch)
    before = made(math.inf)
    states, begun = all_states(before), list(seen)
    assert {state.level for state in states} == {0}
    psnr = [point["psnr"] for point in before.selection.curve.points]
    assert psnr[1] < psnr[2] - 0.1
    seen.clear()
    changed = made(psnr[2] + 10.0 + (-0.05 if outgrown else 0.05 + max(0.0, max(psnr) - psnr[2])))
    found = all_states(changed)
    assert [state.level for state in found] == ([0, 0, 0, 1, 1] if outgrown else [0] * 5)
    for state, again in zip(states[:3], found[:3], strict=True):
        assert torch.equal(state.theta, again.theta)
    # The third step begins where the second has led: times and all rows but the last, which the new truth solves anew.
    assert len(seen) == 4
    held = len(seen[2]) - (N + 1)
    assert torch.equal(seen[2][:held], found[2].theta[:held])
    assert torch.equal(seen[2], begun[2]) == (not outgrown)
    assert not torch.equal(seen[0][:held], seen[2][:held])
    # All that is measured from there on is measured on that truth.
    assert changed.teaching.level == found[-1].level
    validation = source.taught(changed.teaching.teacher).pairs("validation", COUNT)
    assert torch.equal(changed.selection.pairs.x1, validation.x1)
    best = plain_states(changed.selection.result(), validation.field, validation.x0)[-1]
    assert changed.selection.best_psnr == pytest.approx(float(psnr_per_sample(best, validation.x1, 2.0).mean()), abs=1e-6)


@pytest.mark.parametrize(("margin", "level"), [(14.95, 1), (15.05, 0)])
def test_a_leg_begins_on_a_truth_that_leaves_room_for_it(
    margin: float, level: int, source: PairSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """15 dB of it, while within a leg 10 will do."""
    monkeypatch.setattr(LONG, (12,))
    legs = [Leg(16, None, NEVER_SLOW), Leg(COUNT, None, replace(NEVER_SLOW, iterations=0))]
    before = descent(legs[:1], source)
    tell_error(before, math.inf)
    all_states(before)
    reached = before.selection.best_psnr
    made = descent(legs, source)
    tell_error(made, reached + margin)
    states = all_states(made)
    assert [state.level for state in states] == [0, 0, 0, level]
    assert made.teaching.level == level
    wanted = source.taught(made.teaching.teacher).pairs("validation", COUNT)
    assert torch.equal(made.selection.pairs.x1, wanted.x1)


def test_accurate_on_a_truth_that_is_no_better_is_not_accurate(source: PairSource, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LONG, (12,))
    made = replace(descent([Leg(COUNT, None, NEVER_SLOW)], source), enough=1.0)
    tell_error(made, 11.0)
    states = all_states(made)
    assert [state.level for state in states] == [0, 1]
    assert made.why_stopped(states[-1]) == ACCURATE.format(1.0)


class Paid:
    """A field that notes what it is asked, an evaluation that is differentiated as three."""

    def __init__(self, field: FunctionField, paid: list[int]) -> None:
        self.field, self.path, self.interval, self.paid = field, field.path, field.interval, paid

    def __call__(self, t: Tensor, x: Tensor) -> Tensor:
        self.paid.append(len(x) * (3 if x.requires_grad and torch.is_grad_enabled() else 1))
        return self.field(t, x)

    def part(self, index: Tensor | slice) -> Paid:
        return self


def test_the_soft_teacher_is_paid_for(source: PairSource, monkeypatch: pytest.MonkeyPatch) -> None:
    paid: list[int] = []
    field, pairs = as_model_field(Paid(FunctionField(bend, CondOT()), paid)), Teaching.pairs

    def watched(self: Teaching, split: Split, count: int, along: bool = False) -> Pairs:
        found = pairs(self, split, count, along)
        return replace(found, field=field) if split == "train" else found

    monkeypatch.setattr(Teaching, "pairs", watched)
    for objective in ("mse", "soft-mse"):
        made = descent([Leg(COUNT, None, Schedule(iterations=2))], source, objective=objective)
        paid.clear()
        all_states(replace(made, derivative="difference"))
        assert made.selection.cost.training == sum(paid)
        assert (max(paid) == 3 * COUNT) == (objective == "soft-mse")


def test_it_ends_when_validation_gains_nothing_and_every_leg_has_that_patience_anew(source: PairSource) -> None:
    schedule = Schedule(slow_gain=-math.inf, leaving_gain=-math.inf)
    made = descent([Leg(COUNT, None, schedule)] * 2, source, patience=2)
    made.selection.smallest_gain = 100.0
    states = all_states(made)
    assert [state.iterations_in_leg for state in states] == [0, 1, 2, 0, 1, 2]
    assert made.why_stopped(states[-1]) == IDLE


def test_a_leg_is_damped_as_its_schedule_says_at_first(source: PairSource) -> None:
    made = descent([Leg(COUNT, None, Schedule(damping=0.25))], source)
    assert next(iter(made.steps(State(made.family.start())))).damping == 0.25


@pytest.mark.parametrize(("objective", "last"), [("log-mse", 0.5), ("log-mse", 0.01), ("mse", 0.5)])
def test_the_floor_is_lowered_from_the_median_error_to_its_last_share(
    objective: str, last: float, source: PairSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over the whole descent, whatever leg it is on; an objective that takes no logarithms of errors has none."""
    shares: list[float] = []
    under = GaussNewton.under

    def watching(self: GaussNewton, floor: float, iterate: Iterate) -> Iterate:
        pairs = self.pairs
        errors = (plain_states(iterate.table, pairs.field, pairs.x0)[-1] - pairs.x1).square().mean(1)
        shares.append(floor / float(errors.median()))
        return under(self, floor, iterate)

    monkeypatch.setattr(GaussNewton, "under", watching)
    all_states(replace(descent(two_legs(), source, objective=objective), floor=last))
    iterations = [0, 0, 1, 2, 2, 3]  # a leg begins under the floor of its first iteration
    wanted = [max(last, 0.3**k) if objective == "log-mse" else 0.0 for k in iterations]
    assert shares == pytest.approx(wanted, rel=1e-6)
