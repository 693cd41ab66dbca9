from __future__ import annotations

import time

import pytest
import torch

from bnsbench.api import speed
from bnsbench.api.named import open_host
from bnsbench.flows.fields import FunctionField
from bnsbench.flows.paths import CondOT
from tests.nonstationary.test_engine import velocity


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(speed, "SECONDS", 0.02)
    monkeypatch.setattr(speed, "ROUNDS", 3)


@pytest.fixture
def host():
    return open_host(())


def test_the_loop_and_the_table_are_one_solver():
    field, x0 = FunctionField(velocity, CondOT()), torch.randn(4, 3)
    torch.testing.assert_close(speed.bare_loop(field, x0, 5), speed.euler(5)(field, x0))


def test_steps_are_timed_for_every_shape():
    found = list(speed.step_costs("cpu"))
    assert [step.states for step in found] == list(speed.SHAPES)
    assert all(step.engine > 0 and step.loop > 0 for step in found)
    assert speed.Step((1,), engine=100.0, loop=1.0).overhead == pytest.approx(0.1 / 5.1)


def test_works_take_turns_and_are_told_apart():
    order = []

    def work(name, seconds):
        def work():
            order.append(name)
            time.sleep(seconds)

        return work

    slow, fast = speed.compared([work("slow", 0.004), work("fast", 0.001)], "cpu")
    assert slow > 2 * fast >= 0.002
    turns = [name for name, before in zip(order[4:], [None, *order[4:]], strict=False) if name != before]
    assert turns == ["slow", "fast"] * speed.ROUNDS


def test_forwards_are_counted_by_sample(host, monkeypatch):
    class Slow:
        shape = (2,)

        def conditions(self, indices):
            return None

        def networks(self):
            return (torch.nn.Linear(3, 4),)

        def field(self, condition):
            return lambda t, x: time.sleep(0.002)

    monkeypatch.setattr(speed, "MODELS", ("slow",))
    monkeypatch.setattr(speed, "named_model", lambda *_: type("Named", (), {"model": Slow()})())
    (found,) = speed.forwards(host, "cpu")
    assert (found.model, found.parameters) == ("slow", 16)
    assert 0.2 * speed.BATCH / 0.002 < found.per_second <= speed.BATCH / 0.002


def test_the_threads_of_the_process_are_as_before(host, monkeypatch):
    monkeypatch.setattr(speed, "MODELS", ("ring8",))
    monkeypatch.setattr(speed, "SHAPES", ((2, 3),))
    torch.set_num_threads(2)
    found = speed.measure(host, "cpu")
    assert torch.get_num_threads() == 2
    assert (found["device"], found["threads"], len(found["steps"])) == ("cpu", 1, 1)
    assert found["forwards"][0]["model"] == "ring8"


def test_cuda_is_waited_for(monkeypatch):
    waits: list[str] = []
    monkeypatch.setattr(torch.cuda, "synchronize", waits.append)
    speed.timed(lambda: None, "cuda:1", 3)
    assert waits == ["cuda:1", "cuda:1"]
