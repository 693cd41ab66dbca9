"""Networks that fill the memory: trained in parts, to the same solver, and told of once."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import bnsbench
from bnsbench.errors import BnsbenchError, UsageError
from tests.api.networks import Linear


class Hears(bnsbench.Listener):
    def __init__(self) -> None:
        self.notices: list[str] = []

    def notice(self, text: str) -> None:
        self.notices.append(text)


class Filling(nn.Module):
    """A network of which so many samples fit into memory, and fewer where a graph is kept."""

    def __init__(self, values: int, gradients: int | None = None) -> None:
        super().__init__()
        self.inner = Linear()
        self._values, self._gradients = values, values if gradients is None else gradients

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        if len(x) > (self._gradients if torch.is_grad_enabled() and x.requires_grad else self._values):
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory")
        bent: Tensor = self.inner(t, x).sin()
        return bent


def trained(network: Filling, **more) -> tuple[bnsbench.SolverArtefact, list[str]]:
    heard = Hears()
    model = bnsbench.wrap(network.eval(), shape=(36,), name="filling")
    made = bnsbench.train(model, nfe=2, pairs=16, iterations=1, listener=heard, **more)
    return made, heard.notices


@pytest.mark.parametrize("derivative", ["backward", "forward", "difference", "auto"])
def test_a_training_in_parts_finds_the_same_solver_and_says_so_once(derivative: str) -> None:
    made, told = trained(Filling(5), derivative=derivative)
    roomy, nothing = trained(Filling(10**6), derivative=derivative)
    torch.testing.assert_close(made.solver.rows, roomy.solver.rows, rtol=1e-3, atol=1e-3)
    assert made.training["forwards"] == roomy.training["forwards"]
    assert made.training["psnr"] == pytest.approx(roomy.training["psnr"], abs=0.05)
    assert made.training["derivative"] == ("backward" if derivative == "auto" else derivative)
    assert (len(told), nothing) == (1, [])
    assert "4 at a time" in told[0]


def test_auto_names_what_it_has_used_and_costs_what_it_costs() -> None:
    made, _ = trained(Filling(10**6, gradients=0), derivative="auto")
    chosen, _ = trained(Filling(10**6, gradients=0), derivative="forward")
    assert made.training["derivative"] == "forward"
    assert made.solver.fingerprint() == chosen.solver.fingerprint()
    assert made.training["forwards"]["training"] == chosen.training["forwards"]["training"] + 1 + 1 + 3 + 2


def test_a_sample_that_does_not_fit_is_told_with_what_to_do() -> None:
    with pytest.raises(BnsbenchError, match=r"Not even one sample fits.*derivative=forward or derivative=difference"):
        trained(Filling(10**6, gradients=0), derivative="backward")


def test_adam_says_that_it_takes_whole_batches() -> None:
    with pytest.raises(BnsbenchError, match="A batch of 16 pairs does not fit into memory where Adam goes back"):
        trained(Filling(10**6, gradients=10), solver="bns[init=euler,optimiser=adam]")


def test_the_user_may_say_how_many_samples_a_network_gets() -> None:
    made, told = trained(Filling(7), batch=7)
    roomy, _ = trained(Filling(10**6))
    assert told == []
    torch.testing.assert_close(made.solver.rows, roomy.solver.rows, rtol=1e-3, atol=1e-3)
    with pytest.raises(UsageError, match="at least one sample at once, not 0"):
        trained(Filling(7), batch=0)


@pytest.mark.parametrize("derivative", ["backward", "forward"])
def test_no_layer_keeps_anything_for_the_gradient_of_its_weights(derivative: str) -> None:
    network, learning = Filling(10**6), list[bool]()

    def looks(module: nn.Module, given: object) -> None:
        learning.append(torch.is_grad_enabled() and any(part.requires_grad for part in module.parameters()))

    network.register_forward_pre_hook(looks)
    trained(network, derivative=derivative)
    assert learning
    assert not any(learning)
    assert all(part.requires_grad for part in network.parameters())


def test_computing_activations_once_more_needs_a_network_that_can() -> None:
    with pytest.raises(UsageError, match="cannot compute its activations once more"):
        trained(Filling(10**6), solver="bns[checkpointed=true]")
