from __future__ import annotations

import pytest
import torch
from torch import nn

from bnsbench.errors import UsageError
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
