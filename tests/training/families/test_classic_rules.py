from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from bnsbench.flows.fields import FunctionField
from bnsbench.flows.paths import VP, CondOT, Cosine, DiscreteVP, Path
from bnsbench.flows.predictions import Prediction, to_velocity
from bnsbench.nonstationary.table import NonStationarySolver
from bnsbench.nonstationary.tracing import trace
from bnsbench.solvers.adams_bashforth import ab2
from bnsbench.solvers.ddim import ddim
from bnsbench.solvers.dpm_solver_pp import dpm_solver_pp_2m
from bnsbench.solvers.runge_kutta import euler, heun, midpoint
from bnsbench.solvers.unipc import unipc
from bnsbench.training.families.classic_rules import Anchored, Decoupled, RuleTimes
from bnsbench.training.families.parametrisation import Block, FreeTable, LinearMultistep, LogGaps, Parametrisation
from tests.flows.toy import SineField
from tests.training.families.examples import EXAMPLES, Sampler, by_differences, late, nodes, rule_of, somewhere, up_to
from tests.training.toys import random_table, uniform

FAMILIES: dict[str, Parametrisation] = {name: example.family for name, example in EXAMPLES.items()}


@pytest.mark.parametrize(("sampler", "stages"), [(unipc, 1), (heun, 2), (midpoint, 2)])
def test_the_table_is_the_rule_s_on_its_grid(sampler: Sampler, stages: int) -> None:
    """The rule itself, run on a field, wherever the times have gone."""
    family, steps = RuleTimes(rule_of(sampler, stages), uniform(4) ** 1.2), 4
    x0 = torch.randn(3, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for theta in (family.start(), somewhere(family)):
        gaps = torch.cat([theta.exp(), torch.ones(1, dtype=torch.float64)])
        times = torch.cat([torch.zeros(1, dtype=torch.float64), (gaps / gaps.sum()).cumsum(0)])
        expected = sampler(SineField(), x0, steps * stages, grid=nodes(times))
        torch.testing.assert_close(family.table(theta)(SineField(), x0), expected, rtol=1e-12, atol=1e-12)


class EulerTimes(Parametrisation):
    """Euler's method with its times, in closed form: b_ij = t_{j+1} - t_j."""

    def __init__(self, times: Tensor) -> None:
        self._gaps = LogGaps(times)
        self.log_gaps = len(times) - 2

    def start(self) -> Tensor:
        return self._gaps.start

    def table(self, theta: Tensor) -> NonStationarySolver:
        times = self._gaps.times(theta)
        n = len(times) - 1
        return NonStationarySolver.from_rows(
            times, torch.cat([times.new_ones(n, 1), times.diff().expand(n, n).tril()], dim=1)
        )


def test_the_jacobian_of_euler_s_times_is_that_of_its_closed_form() -> None:
    by_trace, closed = RuleTimes(rule_of(euler), uniform(5)), EulerTimes(uniform(5))
    theta = somewhere(closed)
    torch.testing.assert_close(by_trace.jacobian(theta), closed.jacobian(theta), rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("made", [RuleTimes, Anchored])
def test_a_single_step_has_no_times_to_choose(made: type[RuleTimes]) -> None:
    family = made(rule_of(midpoint, 2), uniform(1))
    assert family.log_gaps == 0
    theta = family.start()
    assert len(theta) == (0 if made is RuleTimes else 5)
    jacobian = family.jacobian(theta)
    # t_1, which the rule puts in the middle, and five entries of rows.
    assert jacobian.shape == (6, len(theta))
    torch.testing.assert_close(jacobian, torch.eye(6, dtype=torch.float64)[:, 1 : 1 + len(theta)])


def test_a_single_evaluation_has_no_time_to_tell() -> None:
    family = Decoupled(LinearMultistep(uniform(1)), VP(), "epsilon")
    assert len(family.start()) == 0
    assert torch.equal(family.table(family.start()).rows, torch.ones(1, 2, dtype=torch.float64))
    assert family.jacobian(family.start()).shape == (2, 0)


def test_the_numbers_of_parameters_are_the_papers() -> None:
    for n in (4, 6, 10):
        times = RuleTimes(rule_of(unipc), uniform(n))
        assert len(times.start()) == n - 1
        # LD3: as many again for the network's times, at most 20 for 10 evaluations.
        assert len(Decoupled(times, VP(), "epsilon").start()) == 2 * (n - 1) <= 20
        # GS: a time for each step, and a correction of every coefficient.
        assert len(Anchored(rule_of(unipc), uniform(n)).start()) == n - 1 + n * (n + 3) // 2
        assert len(Anchored(rule_of(midpoint, 2), uniform(n // 2)).start()) == n // 2 - 1 + n * (n + 3) // 2


def test_corrections_are_added_to_the_rule_s_rows_and_follow_its_times() -> None:
    family = FAMILIES["anchored"]
    theta = somewhere(family)
    table, rule = family.table(theta), FAMILIES["rule times"].table(theta[:4])
    assert torch.equal(table.times, rule.times)
    corrections = iter((theta[4:]).tolist())
    for i in range(5):
        expected = [value + next(corrections) for value in rule.rows[i, : i + 2].tolist()]
        torch.testing.assert_close(table.rows[i, : i + 2], torch.tensor(expected, dtype=torch.float64))
        assert not table.rows[i, i + 2 :].any()


def test_blocks_of_an_anchored_rule_take_times_and_corrections_in_turn() -> None:
    family = FAMILIES["anchored"]
    theta = somewhere(family)
    corrections, times = (Block(family, theta, index) for index in (torch.arange(4, 24), torch.arange(4)))
    assert (corrections.log_gaps, times.log_gaps) == (0, 4)
    assert (corrections.holds_last_row, times.holds_last_row) == (True, False)
    for part in (corrections, times):
        assert not part.differentiable
        torch.testing.assert_close(part.jacobian(part.start()), by_differences(part, part.start()), rtol=1e-5, atol=1e-6)
    row = torch.linspace(-1, 1, 6, dtype=torch.float64)
    replaced = corrections.table(corrections.with_last_row(corrections.start(), row))
    torch.testing.assert_close(replaced.rows, family.table(theta).with_row(4, row).rows)


def network(t: Tensor, x: Tensor) -> Tensor:
    """A prediction that is linear in nothing."""
    return torch.sin(2 * x + 3 * t) - 0.5 * x.roll(1, -1) * torch.cos(4 * t)


class Told:
    """A field on which a rule gets, at its k-th evaluation, the prediction for another time in place of its own."""

    forwards_per_evaluation = 1

    def __init__(self, path: Path, prediction: Prediction, interval: tuple[float, float], told: list[float]) -> None:
        self.path, self.prediction, self.interval, self.told = path, prediction, interval, iter(told)

    def __call__(self, t: Tensor, x: Tensor) -> Tensor:
        f = network(torch.tensor(next(self.told), dtype=torch.float64), x)
        return to_velocity(self.path, self.prediction, t, x, f)

    def part(self, index: Tensor | slice) -> Told:
        return self


CASES: dict[str, tuple[Sampler, int, Path, Prediction, tuple[float, float]]] = {
    "velocity": (unipc, 1, CondOT(), "velocity", (0.0, 1.0)),
    "epsilon": (unipc, 1, VP(), "epsilon", (0.0, 0.999)),
    "epsilon, discrete": (dpm_solver_pp_2m, 1, DiscreteVP.linear(), "epsilon", (0.0, 1.0)),
    "epsilon, two stages": (heun, 2, VP(), "epsilon", (0.0, 0.999)),
    "x": (dpm_solver_pp_2m, 1, CondOT(), "x", (0.0, 1.0)),
    "x, two stages": (midpoint, 2, VP(), "x", (0.0, 0.999)),
    "v": (ddim, 1, Cosine(), "v", (0.0, 1.0)),
    "v, two stages": (heun, 2, VP(), "v", (0.0, 0.999)),
    "v, in time": (ab2, 1, Cosine(), "v", (0.0, 1.0)),
    "v, from 0.2 to 0.9": (heun, 2, Cosine(), "v", (0.2, 0.9)),
}


@pytest.mark.parametrize("case", CASES)
def test_a_decoupled_rule_uses_the_predictions_for_the_times_that_are_told(case: str) -> None:
    """The rule itself, run on a field that tells its network other times, against the table on the plain field."""
    sampler, stages, path, prediction, (begin, end) = CASES[case]
    grid = begin + (end - begin) * uniform(4)
    family = Decoupled(RuleTimes(rule_of(sampler, stages, path), grid), path, prediction)
    start = family.start()
    theta = start + 0.3 * torch.randn(len(start), generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    n = 4 * stages
    assert len(theta) == 3 + n - 1
    inner = rule_of(sampler, stages, path)(LogGaps(grid).times(theta[:3]))
    told = [begin]
    for t, shift in zip(inner.times[1:-1].tolist(), theta[3:].tolist(), strict=True):
        part = min((t - begin) / (end - begin), 1 - 1e-15)
        told.append(begin + (end - begin) / (1 + math.exp(-(math.log(part / (1 - part)) + shift))))
    x0 = torch.randn(3, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = sampler(Told(path, prediction, (begin, end), told), x0, n, grid=nodes(torch.cat([inner.times[::stages]])))

    def velocity(t: Tensor, x: Tensor) -> Tensor:
        return to_velocity(path, prediction, t, x, network(t, x))

    table = family.table(theta)
    torch.testing.assert_close(table.times[:-1], torch.tensor(told, dtype=torch.float64), rtol=0, atol=1e-8)
    found = table(FunctionField(velocity, path, (begin, end)), x0)
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-7)
    assert (found - inner(FunctionField(velocity, path, (begin, end)), x0)).abs().max() > 1e-3


@pytest.mark.parametrize("name", [name for name in FAMILIES if name.startswith("decoupled")])
def test_without_shifts_a_decoupled_family_is_the_family(name: str) -> None:
    family = FAMILIES[name]
    assert isinstance(family, Decoupled)
    inner = {
        "decoupled rule": RuleTimes(rule_of(unipc, path=VP()), 0.999 * uniform(5)),
        "decoupled x": RuleTimes(rule_of(ab2), uniform(4)),
        "decoupled multistep": LinearMultistep(uniform(4)),
        "decoupled x, from 0.2 to 0.9": FreeTable(late(4)),
        "decoupled free on vp": FreeTable(up_to(0.999), VP()),
    }.get(name, FreeTable(random_table(4)))
    theta = torch.cat([somewhere(inner), torch.zeros(len(family.start()) - len(inner.start()), dtype=torch.float64)])
    assert (family.log_gaps, family.logarithms) == (inner.log_gaps, inner.logarithms)
    torch.testing.assert_close(family.table(theta).times, inner.table(theta[: len(inner.start())]).times, rtol=1e-12, atol=0)
    torch.testing.assert_close(
        family.table(theta).rows, inner.table(theta[: len(inner.start())]).rows, rtol=1e-10, atol=1e-10
    )


def test_velocities_told_for_other_times_leave_the_rows_alone() -> None:
    family, inner = FAMILIES["decoupled velocity"], FreeTable(random_table(4))
    theta = somewhere(family)
    assert torch.equal(family.table(theta).rows, inner.table(theta[: len(inner.start())]).rows)
    assert not torch.equal(family.table(theta).times, inner.table(theta[: len(inner.start())]).times)


@pytest.mark.parametrize("shift", [-30.0, -3.0, 3.0, 30.0])
def test_told_times_never_leave_the_interval(shift: float) -> None:
    family = FAMILIES["decoupled rule"]
    theta = family.start()
    theta[4:] = shift
    table = family.table(theta)
    assert table.times[0] == 0
    assert table.times[-1] == 0.999
    assert ((table.times >= 0) & (table.times <= 0.999)).all()
    assert table.rows.isfinite().all()
    table.validated()


def test_a_traced_rule_is_linear_before_it_is_traced_again() -> None:
    """What these tests take for a rule is what `trace` would find, checks and all."""
    grid = uniform(5) ** 1.3
    checked = trace(lambda field, x0: unipc(field, x0, 5, grid=nodes(grid)), CondOT())
    assert torch.equal(rule_of(unipc)(grid).rows, checked.rows)
