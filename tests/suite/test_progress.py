"""Who is told what a run does, and how long it still takes."""

from __future__ import annotations

from typing import Any

import pytest

from bnsbench.suite.plan import make_plan
from bnsbench.suite.progress import Message, Relay, Remaining, RunListener, listener_of_run
from bnsbench.suite.suitefile import Suite, read_suite
from bnsbench.training.listener import Listener
from bnsbench.training.problem import TrainingStatus


@pytest.fixture
def cells(suite_file, host):
    return list(make_plan(read_suite(suite_file), host))


def _spend(cell, first):
    """Ten seconds to make a field, one per forward, twenty per forward where a solver is trained."""
    return (10.0 if first else 0.0) + cell.forwards * (20.0 if cell.trained else 1.0)


def test_nothing_is_known_before_a_second_cell_of_a_field(cells):
    remaining = Remaining(cells)
    assert remaining.seconds() is None
    remaining.finish(cells[0], 10.0)
    assert remaining.seconds() is None


def test_estimate_is_right_where_the_model_holds(cells):
    remaining = Remaining(list(cells))
    for index, cell in enumerate(cells[:6]):  # the first field
        remaining.finish(cell, _spend(cell, first=index == 0))
    # The 12 seconds of the first cell, two of them for its own forwards, stand for making a field.
    expected = sum(_spend(cell, first=False) for cell in cells[6:]) + 2 * 12.0
    assert remaining.seconds() == pytest.approx(expected)
    assert remaining.seconds(workers=2) == pytest.approx(expected / 2)


def test_nothing_left_takes_no_time(cells):
    remaining = Remaining(list(cells))
    for cell in cells:
        remaining.finish(cell, 1.0)
    assert remaining.seconds() == 0.0


def test_training_is_guessed_until_one_is_seen(cells):
    remaining = Remaining(list(cells[:6]))
    remaining.finish(cells[0], 12.0)
    remaining.finish(cells[1], 4.0)
    plain = sum(cell.forwards for cell in cells[2:4])
    assert remaining.seconds() == pytest.approx(plain + Remaining.TRAINING_GUESS * sum(cell.forwards for cell in cells[4:6]))


def test_solvers_that_are_shipped_take_as_long_as_those_that_sample_alone(host):
    content = {"name": "s", "models": ["digits-ot"], "nfe": [4, 8], "solvers": ["euler", "bns"], "metrics": ["psnr"]}
    cells = make_plan(Suite.parse(content, "here"), host)
    left = cells[2:]
    assert all(cell.shipped for cell in left)
    for retrain, factor in ((False, 1.0), (True, Remaining.TRAINING_GUESS)):
        remaining = Remaining(cells, retrain)
        remaining.finish(cells[0], 100.0)
        remaining.finish(cells[1], 3.0 * cells[1].forwards)
        assert remaining.seconds() == pytest.approx(3.0 * factor * sum(cell.forwards for cell in left))


def test_a_cell_is_taken_off_the_list_once(cells):
    remaining = Remaining(cells)
    remaining.finish(cells[0], 1.0)
    remaining.finish(cells[0], 1.0)
    assert len(remaining) == len(cells) - 1


def test_every_model_has_its_own_pace(cells):
    remaining = Remaining(list(cells))
    slow, fast = cells[:12], cells[12:]
    for cell in slow:
        remaining.finish(cell, 100.0 * cell.forwards)
    for cell in fast[:2]:
        remaining.finish(cell, 1.0 * cell.forwards)
    sampled, trained = (sum(cell.forwards for cell in fast[2:] if cell.trained == kind) for kind in (False, True))
    # Of its own training nothing is known yet, so that goes at the slow model's pace.
    assert remaining.seconds() == pytest.approx(sampled + 100.0 * trained)


STATUS = TrainingStatus(nfe=2, stage="Adam", iteration=1, total=3, psnr=20.0)
MESSAGES: tuple[tuple[Message, Any], ...] = (("stage", "metrics"), ("notice", "It is damaged."), ("training", STATUS))


class Ear(Listener):
    """Keeps what it is told."""

    def __init__(self):
        self.heard = []

    def stage(self, text):
        self.heard.append(("stage", text))

    def notice(self, text):
        self.heard.append(("notice", text))

    def training(self, status):
        self.heard.append(("training", status))


def test_a_relay_sends_every_message_by_its_name():
    heard = []
    relay = Relay(lambda message, content: heard.append((message, content)))
    relay.stage("a")
    relay.notice("b")
    relay.training(STATUS)
    assert heard == [("stage", "a"), ("notice", "b"), ("training", STATUS)]


def test_what_a_cell_says_bears_its_label(cells):
    ear = Ear()
    run = listener_of_run(ear)
    run.planned(cells, cells)
    run.started(cells[0])
    for message, content in MESSAGES:
        run.of_cell(cells[0], message, content)
    assert [message for message, _ in ear.heard] == ["stage", "notice", "training"]
    stage, notice, status = (content for _, content in ear.heard)
    assert (stage, notice) == ("tiny w=0 steps NFE 2: metrics", "It is damaged.")
    assert (status.stage, status.psnr) == ("tiny w=0 steps NFE 2: Adam", 20.0)


def test_who_listens_to_runs_stays_and_nobody_hears_nothing(cells):
    own = RunListener()
    assert listener_of_run(own) is own
    silent = listener_of_run(None)
    for message, content in MESSAGES:
        silent.of_cell(cells[0], message, content)
