from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from bnsbench.errors import UsageError
from bnsbench.models import learning
from bnsbench.models.learning import Learner, learn

TARGET = torch.tensor([[2.0, -1.0]])


def regression(network: nn.Linear, generator: torch.Generator) -> torch.Tensor:
    x = torch.randn(32, 2, generator=generator)
    return (network(x) - x @ TARGET.T).square().mean()


def learner(steps: int) -> Learner[nn.Linear]:
    network = nn.Linear(2, 1)
    with torch.no_grad():
        network.weight.zero_()
        network.bias.zero_()
    return Learner(network, regression, steps, rate=0.05, seed=1)


def test_learning_finds_a_linear_map(tmp_path):
    student = learner(600)
    learn(student, tmp_path / "checkpoint.pt", "test", progress=False)
    torch.testing.assert_close(student.average.weight, TARGET, atol=0.05, rtol=0)
    assert student.done == 600


def test_interrupted_training_goes_on_exactly(tmp_path):
    straight = learner(40)
    learn(straight, tmp_path / "straight.pt", "test", progress=False)

    interrupted = learner(40)
    for _ in range(15):
        interrupted.step()
    torch.save(interrupted.state(), tmp_path / "resumed.pt")
    resumed = learner(40)
    learn(resumed, tmp_path / "resumed.pt", "test", progress=False)

    assert torch.equal(resumed.network.weight, straight.network.weight)
    assert torch.equal(resumed.average.weight, straight.average.weight)


def test_checkpoint_is_kept_and_of_the_last_step(tmp_path):
    learn(learner(7), tmp_path / "new" / "checkpoint.pt", "test", progress=False)
    assert torch.load(tmp_path / "new" / "checkpoint.pt", weights_only=True)["done"] == 7
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["checkpoint.pt"]


def test_a_checkpoint_that_cannot_be_written_keeps_the_one_before(tmp_path, monkeypatch):
    file = tmp_path / "checkpoint.pt"
    torch.save(learner(7).state(), file)

    def fill(state, temporary):
        temporary.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(torch, "save", fill)
    with pytest.raises(OSError, match="No space"):
        learn(learner(7), file, "test", progress=False)
    assert torch.load(file, weights_only=True)["done"] == 0
    assert list(tmp_path.iterdir()) == [file]


def test_checkpoint_of_another_budget_is_refused(tmp_path):
    learn(learner(5), tmp_path / "checkpoint.pt", "test", progress=False)
    with pytest.raises(UsageError, match="budget of 5 steps, not 9"):
        learn(learner(9), tmp_path / "checkpoint.pt", "test", progress=False)


def test_rate_warms_up_and_decays():
    student = learner(1000)
    rates = []
    for done in (0, 100, 500, 999):
        student.done = done
        student.step()
        rates.append(student.optimisers[0][0].param_groups[0]["lr"])
    assert rates[0] == 0
    assert rates[1] == pytest.approx(0.05 * 0.5, rel=0.05)
    assert rates[2] == pytest.approx(0.05 * 0.5, rel=0.01)
    assert rates[3] < 1e-6


class Clock:
    """Seconds that pass only when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(learning, "time", made)
    return made


def timed(clock: Clock, seconds: float, steps: int = 10_000) -> Learner[nn.Linear]:
    """Return a learner whose every batch takes a second."""

    def loss(network: nn.Linear, generator: torch.Generator) -> torch.Tensor:
        clock.now += 1.0
        return regression(network, generator)

    made = Learner(nn.Linear(2, 1), loss, steps, rate=0.05, seed=1)
    made.seconds = seconds
    return made


def test_a_budget_of_time_ends_the_training_and_its_decay(clock, tmp_path):
    student = timed(clock, seconds=400)
    rates = {}
    while not student.finished:
        done = student.done
        student.step()
        rates[done] = student.optimisers[0][0].param_groups[0]["lr"]
    assert student.done == 400
    assert rates[200] == pytest.approx(0.05 * 0.5)  # after the warm-up, half of the time
    assert rates[300] == pytest.approx(0.05 * (0.5 + 0.5 * math.cos(0.75 * math.pi)))
    assert rates[399] < 1e-5


def test_steps_end_a_training_before_its_time(clock, tmp_path):
    student = timed(clock, seconds=1000, steps=7)
    learn(student, tmp_path / "checkpoint.pt", "test", progress=False)
    assert (student.done, student.elapsed) == (7, 7.0)


def test_time_between_an_interruption_and_its_end_does_not_count(clock, tmp_path):
    interrupted = timed(clock, seconds=20)
    for _ in range(15):
        interrupted.step()
    torch.save(interrupted.state(), tmp_path / "checkpoint.pt")
    clock.now += 3600
    resumed = timed(clock, seconds=20)
    learn(resumed, tmp_path / "checkpoint.pt", "test", progress=False)
    assert (resumed.done, resumed.elapsed) == (20, 20.0)


def test_a_training_goes_on_where_it_was_but_is_measured_anywhere():
    state = learner(5).state()
    state["device"] = "NVIDIA H100"
    with pytest.raises(UsageError, match="on the device 'NVIDIA H100', not 'cpu'"):
        learner(5).restore(state)
    state["done"] = 5
    finished = learner(5)
    finished.restore(state)
    assert finished.finished
    assert (finished.device_name, finished.state()["device"]) == ("NVIDIA H100", "NVIDIA H100")


def test_the_average_follows_the_network():
    student = learner(1000)
    expected, kept = student.average.weight.clone(), []
    for done in range(1, 6):
        student.step()
        expected.lerp_(student.network.weight.detach(), 9 / (done + 9))
        kept.append(torch.equal(student.average.weight, expected))
    assert kept == [True] * 5
