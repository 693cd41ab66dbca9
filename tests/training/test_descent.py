from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from bnsbench.flows.fields import FunctionField
from bnsbench.flows.paths import CondOT
from bnsbench.training.descent import ACCURATE, CONVERGED, IDLE, SPENT, Descent, Leg, Schedule, State
from bnsbench.training.families.parametrisation import FreeTable
from bnsbench.training.objectives import make_objective
from bnsbench.training.optimisers.checkpoint import Checkpoint
from bnsbench.training.optimisers.gauss_newton import GaussNewton, Iterate
from bnsbench.training.optimisers.selection import IterateSelection
from bnsbench.training.problem import Cost, Problem
from bnsbench.truth.pairs import Pairs
from bnsbench.truth.psnr import psnr_per_sample
from tests.training.toys import as_model_field, bend, euler_table, plain_states, plane_source

N = 3
SOURCE = plane_source(bend)


@pytest.fixture(scope="module")
def train() -> Pairs:
    return SOURCE.pairs("train", 24)


@pytest.fixture(scope="module")
def validation() -> Pairs:
    return SOURCE.pairs("validation", 24)


def descent(legs: Sequence[Leg], validation: Pairs, *, objective: str = "log-mse", patience: int = 99) -> Descent:
    aim = make_objective(objective, None)
    return Descent(
        family=FreeTable(euler_table(N)),
        objective=aim,
        legs=legs,
        selection=IterateSelection(Problem(SOURCE), aim, validation, N, Cost(), patience=patience),
        enough=math.inf,
        seed=0,
        derivative="backward",
        precision=torch.float64,
    )


def two_legs(train: Pairs) -> list[Leg]:
    """A leg on a part of the pairs over the rows alone, and one on all of them over everything."""
    rows = torch.arange(N - 1, len(FreeTable(euler_table(N)).start()))
    never_slow = Schedule(iterations=2, slow_gain=-math.inf)
    return [Leg(train.part(slice(8)), rows, never_slow), Leg(train, None, never_slow)]


def test_every_leg_yields_its_start_and_every_iteration(train: Pairs, validation: Pairs) -> None:
    made = descent(two_legs(train), validation)
    states = list(made.steps(State(made.family.start())))
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


@pytest.mark.parametrize("objective", ["log-mse", "soft-log-mse", "trajectory"])
def test_from_every_state_the_descent_goes_on_to_the_same_end(objective: str, validation: Pairs, train: Pairs) -> None:
    if objective == "trajectory":
        train, validation = SOURCE.trajectories("train", 24), SOURCE.trajectories("validation", 24)
    whole = descent(two_legs(train), validation, objective=objective)
    states, kept = [], []
    for state in whole.steps(State(whole.family.start())):
        states.append(state)
        kept.append(whole.selection.state())
        kept[-1]["curve"] = list(kept[-1]["curve"])
    for k, (state, found) in enumerate(zip(states, kept, strict=True)):
        again = descent(two_legs(train), validation, objective=objective)
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


def test_a_leg_converges_after_slow_iterations_in_a_row(train: Pairs, validation: Pairs) -> None:
    for slow_iterations in (1, 3):
        made = descent([Leg(train, None, Schedule(slow_iterations=slow_iterations, slow_gain=math.inf))], validation)
        *_, end = made.steps(State(made.family.start()))
        assert (end.iterations, end.slow) == (slow_iterations, slow_iterations)
        assert made.why_stopped(end) == CONVERGED


def test_an_iteration_is_slow_if_it_gains_less_than_the_schedule_says(
    train: Pairs, validation: Pairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Losses that are told, from 8 on: a gain of just as much is not slow, and starts the count anew."""
    told = {7.0: 0, 6.875: 1, 6.625: 0, 6.625 + 2**-40: 1, 6.5: 2, 5.5: 0, 5.375: 1, 5.25: 2, 5.125: 3}
    losses, evaluate = iter(told), GaussNewton.evaluate
    monkeypatch.setattr(GaussNewton, "evaluate", lambda self, theta: replace(evaluate(self, theta), loss=8.0))

    def step(self: GaussNewton, iterate: Iterate, iteration: int, damping: float) -> tuple[Iterate, float]:
        return replace(iterate, loss=next(losses)), damping

    monkeypatch.setattr(GaussNewton, "step", step)
    made = descent([Leg(train, None, Schedule(slow_iterations=3, slow_gain=0.25))], validation)
    start, *states = made.steps(State(made.family.start()))
    assert start.slow == 0
    assert [state.slow for state in states] == list(told.values())
    assert made.why_stopped(states[-1]) == CONVERGED


@pytest.mark.parametrize("missed", [0.0, 1e-9])
def test_it_ends_at_the_very_accuracy_that_is_asked_for(missed: float, train: Pairs, validation: Pairs) -> None:
    """A state that has it is the last one, and no leg begins any more."""
    made = descent([Leg(train, None, Schedule(iterations=1))] * 2, validation)
    start = next(iter(made.steps(State(made.family.start()))))
    table = made.family.table(start.theta)
    end = plain_states(table, validation.field, validation.x0)[-1]
    reached = made.selection.best_psnr
    assert reached == pytest.approx(float(psnr_per_sample(end, validation.x1, 2.0).mean()), abs=1e-9)
    again = replace(descent(made.legs, validation), enough=reached + missed)
    states = list(again.steps(State(made.family.start())))
    assert (len(states) == 1) == (missed == 0)
    assert (again.why_stopped(states[0]) == ACCURATE.format(reached)) == (missed == 0)


class Paid:
    """A field that notes what it is asked, an evaluation that is differentiated as three."""

    def __init__(self, field: FunctionField, paid: list[int]) -> None:
        self.field, self.path, self.interval, self.paid = field, field.path, field.interval, paid

    def __call__(self, t: Tensor, x: Tensor) -> Tensor:
        self.paid.append(len(x) * (3 if x.requires_grad and torch.is_grad_enabled() else 1))
        return self.field(t, x)

    def part(self, index: Tensor | slice) -> Paid:
        return self


def test_the_soft_teacher_is_paid_for(train: Pairs, validation: Pairs) -> None:
    paid: list[int] = []
    field = as_model_field(Paid(FunctionField(bend, CondOT()), paid))
    for objective in ("mse", "soft-mse"):
        made = descent([Leg(replace(train, field=field), None, Schedule(iterations=2))], validation, objective=objective)
        paid.clear()
        list(replace(made, derivative="difference").steps(State(made.family.start())))
        assert made.selection.cost.training == sum(paid)
        assert (max(paid) == 3 * len(train)) == (objective == "soft-mse")


def test_it_ends_when_validation_gains_nothing_and_every_leg_has_that_patience_anew(train: Pairs, validation: Pairs) -> None:
    made = descent([Leg(train, None, Schedule(slow_gain=-math.inf))] * 2, validation, patience=2)
    made.selection.smallest_gain = 100.0
    states = list(made.steps(State(made.family.start())))
    assert [state.iterations_in_leg for state in states] == [0, 1, 2, 0, 1, 2]
    assert made.why_stopped(states[-1]) == IDLE


def test_a_leg_is_damped_as_its_schedule_says_at_first(train: Pairs, validation: Pairs) -> None:
    made = descent([Leg(train, None, Schedule(damping=0.25))], validation)
    assert next(iter(made.steps(State(made.family.start())))).damping == 0.25
