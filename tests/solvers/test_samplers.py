from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from bnsbench.contract import PluginHost
from bnsbench.errors import BnsbenchError
from bnsbench.flows.fields import FunctionField, VelocityField
from bnsbench.flows.paths import CondOT, Path
from bnsbench.nonstationary.table import NonStationarySolver
from bnsbench.solvers.samplers import run_metered, sampler_of

PLUGIN = """
from bnsbench.contract.hookspecs import hookimpl
from bnsbench.contract.specs import SolverSpec

@hookimpl
def bnsbench_solvers():
    yield SolverSpec("halves", ":halves", kind="direct", parameters={"share": 0.5})

def halves(field, x0, nfe, share):
    return x0 + share * nfe
"""

FIELD = FunctionField(lambda t, x: -x, CondOT(), (0.0, 1.0))
X0 = torch.ones(3, 2, dtype=torch.float64)


def test_a_classic_becomes_its_table() -> None:
    """Euler's method on x' = -x multiplies by 1 - 1 / n at every step."""
    table = sampler_of(PluginHost.load().solver("euler"), 4, CondOT(), (0.0, 1.0))
    assert isinstance(table, NonStationarySolver)
    torch.testing.assert_close(table(FIELD, X0), X0 * 0.75**4)


def test_a_direct_solver_stays_what_it_is(tmp_path) -> None:
    (tmp_path / "mine.py").write_text(PLUGIN)
    host = PluginHost.load([tmp_path / "mine.py"])
    sampler = sampler_of(host.solver("halves[share=0.25]"), 4, CondOT(), (0.0, 1.0))
    assert not isinstance(sampler, NonStationarySolver)
    assert torch.equal(sampler(FIELD, X0), X0 + 1)


@dataclass
class Speeds:
    """A field that moves each sample with a speed of its own."""

    speeds: Tensor
    forwards_per_evaluation: int = 1
    path: Path = field(default_factory=CondOT)
    interval: tuple[float, float] = (0.0, 1.0)

    def __call__(self, t: Tensor, x: Tensor) -> Tensor:
        return self.speeds[:, None].expand_as(x)

    def part(self, index: Tensor | slice) -> Speeds:
        return Speeds(self.speeds[index])


SPEEDS = Speeds(torch.tensor([1.0, -2.0, 0.5, 4.0, 3.0], dtype=torch.float64))
TIME = torch.zeros((), dtype=torch.float64)


@pytest.mark.parametrize(("batch", "sizes"), [(1, [1] * 5), (2, [2, 2, 1]), (3, [3, 2]), (5, [5]), (8, [5])])
def test_batches_meet_their_own_part_of_the_field(batch: int, sizes: list[int]) -> None:
    """One step of Euler in place: the end states are those of one batch, in order, and the start stays as it is."""
    seen = []

    def in_place(velocity: VelocityField, x: Tensor) -> Tensor:
        seen.append(len(x))
        assert not torch.is_grad_enabled()
        return x.add_(velocity(TIME, x))

    x0 = torch.arange(10, dtype=torch.float64).reshape(5, 2)
    found, nfe = run_metered(in_place, SPEEDS, x0, 1, batch)
    assert (seen, nfe) == (sizes, 1)
    assert torch.equal(found, torch.arange(10, dtype=torch.float64).reshape(5, 2) + SPEEDS.speeds[:, None])
    assert torch.equal(x0, torch.arange(10, dtype=torch.float64).reshape(5, 2))


def test_states_in_a_memory_that_is_used_again_are_kept() -> None:
    memory = torch.zeros(1, 2, dtype=torch.float64)

    def reusing(velocity: VelocityField, x: Tensor) -> Tensor:
        return memory.copy_(x + velocity(TIME, x))

    found, _ = run_metered(reusing, SPEEDS, torch.zeros(5, 2, dtype=torch.float64), 1, 1)
    assert torch.equal(found, SPEEDS.speeds[:, None].expand(5, 2))


@pytest.mark.parametrize(("spent", "told"), [([4, 4, 4], 4), ([4, 3, 4], 3), ([4, 4, 6], 6), ([0, 4, 4], 0), ([5, 3, 4], 5)])
def test_the_first_batch_with_other_evaluations_is_told(spent: list[int], told: int) -> None:
    left = iter(spent)

    def sampler(velocity: VelocityField, x: Tensor) -> Tensor:
        for _ in range(next(left)):
            x = x + velocity(TIME, x)
        return x

    assert run_metered(sampler, SPEEDS, torch.zeros(5, 2, dtype=torch.float64), 4, 2)[1] == told


@pytest.mark.parametrize(("result", "said"), [([1.0], "a list"), (None, "None"), (3, "an int")])
def test_what_is_no_state_is_refused_and_the_field_is_closed(result: object, said: str) -> None:
    kept = []

    def sampler(velocity: VelocityField, x: Tensor) -> object:
        kept.append(velocity)
        return result

    with pytest.raises(BnsbenchError, match=f"it returned {said} instead of states"):
        run_metered(sampler, SPEEDS, X0, 1, 3)  # type: ignore[arg-type]
    with pytest.raises(BnsbenchError, match="after the run"):
        kept[0](TIME, X0)
