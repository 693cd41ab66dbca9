"""A table told on another path is the same solver: its states are the scaled ones, on fields known on both paths."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from bnsbench.flows.paths import CANONICAL, EDM, VP, CondOT, Cosine, Path, Preconditioned
from bnsbench.nonstationary.change_of_path import canonical_times, from_canonical_times, on_path
from bnsbench.nonstationary.table import NonStationarySolver
from bnsbench.nonstationary.tracing import trace
from bnsbench.solvers.ddim import ddim
from bnsbench.solvers.runge_kutta import midpoint
from bnsbench.training.optimisers.selection import psnr
from bnsbench.training.problem import Effort, Problem
from bnsbench.training.recipes.bns import train_bns
from bnsbench.training.recipes.paper import precondition
from tests.flows.every_path import PATHS
from tests.training.families.examples import nodes
from tests.training.toys import (
    blobs_source,
    cross,
    euler_table,
    plain_states,
    random_split_table,
    random_table,
    states_of_answers,
)

REACH = 3.0
"""Log-SNRs within this of 0 are on every path."""


def between(table: NonStationarySolver, begin: float, end: float) -> NonStationarySolver:
    """The table on another interval."""
    return NonStationarySolver.from_rows(begin + (end - begin) * table.times, table.rows)


def on_reach(path: Path, n: int, seed: int = 0) -> NonStationarySolver:
    """A random table on the interval of a path whose log-SNRs are within reach."""
    begin, end = path.time(torch.tensor([-REACH, REACH], dtype=torch.float64)).tolist()
    return between(random_table(n, seed), begin, end)


def scale(path: Path, new: Path, times: Tensor) -> Tensor:
    """By what states at these times of a path are multiplied: the quotient of the noise's coefficients."""
    return new.sigma(new.time(path.log_snr(times))) / path.sigma(times)


def field_on(path: Path):
    """The exact field of one mixture."""
    return cross(path).field(torch.arange(4) % 2)


def noise() -> Tensor:
    return torch.randn(4, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


PAIRS = list(itertools.permutations(PATHS, 2))


@pytest.mark.parametrize(("one", "other"), PAIRS, ids=lambda name: name)
def test_states_are_scaled_ones_on_the_other_path_s_own_field(one: str, other: str) -> None:
    """The field on the other path is that mixture's own there, so that nothing but the table has been changed."""
    path, new = PATHS[one][0], PATHS[other][0]
    table = on_reach(path, 5)
    changed = on_path(table, path, new)
    torch.testing.assert_close(new.log_snr(changed.times), path.log_snr(table.times), rtol=1e-9, atol=1e-9)
    x0, factors = noise(), scale(path, new, table.times)
    states = plain_states(table, field_on(path), x0)
    found = plain_states(changed, field_on(new), factors[0] * x0)
    for i, state in enumerate(states):
        torch.testing.assert_close(found[i] / factors[i + 1], state, rtol=1e-7, atol=1e-8)
    assert not torch.allclose(changed.times, table.times, atol=1e-3)
    back = on_path(changed, new, path)
    torch.testing.assert_close(back.times, table.times, rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(back.rows, table.rows, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("n", [1, 2, 6])
@pytest.mark.parametrize("name", PATHS)
def test_a_whole_interval_goes_to_the_canonical_path_and_back(name: str, n: int) -> None:
    """Its ends, too, where log-SNRs may be infinite."""
    path, end = PATHS[name]
    table = between(random_table(n), 0.0, end)
    told = on_path(table, path, CANONICAL)
    assert told.nfe == n
    told.validated()
    # At the last time, the quotient of the data's coefficients, since there may be no noise.
    last = CANONICAL.alpha(told.times[-1]) / path.alpha(table.times[-1])
    first = CANONICAL.sigma(told.times[0]) / path.sigma(table.times[0])
    x0 = float(path.sigma(0.0)) * noise()
    found, expected = told(field_on(CANONICAL), first * x0) / last, table(field_on(path), x0)
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-8)
    back = on_path(told, CANONICAL, path, table.times[[0, -1]])
    assert torch.equal(back.times[[0, -1]], table.times[[0, -1]])
    torch.testing.assert_close(back.times, table.times, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(back.rows, table.rows, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", PATHS)
def test_euler_in_the_noise_level_is_ddim_on_every_path(name: str) -> None:
    """DDIM is Euler's method for x / alpha in sigma / alpha, which is the time of a path without scaling."""
    path, still, n = PATHS[name][0], EDM(0.002, 80.0), 4
    begin, end = still.time(torch.tensor([-REACH, REACH], dtype=torch.float64)).tolist()
    steps = begin + (end - begin) * random_table(n).times
    b = steps.diff().expand(n, n).tril()
    found = on_path(NonStationarySolver(steps, torch.ones(n), b), still, path)
    grid, interval = nodes(found.times), (float(found.times[0]), float(found.times[-1]))
    expected = trace(lambda field, x0: ddim(field, x0, n, grid=grid), path, interval)
    torch.testing.assert_close(found.times, expected.times, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(found.rows, expected.rows, rtol=1e-6, atol=1e-7)


def test_a_preconditioned_rule_is_the_rule_on_the_preconditioned_path() -> None:
    sigma_0, n = 5.0, 4
    plain = trace(lambda field, x0: midpoint(field, x0, n), Preconditioned(CondOT(), sigma_0))
    found = on_path(plain, Preconditioned(CondOT(), sigma_0), CondOT())
    expected = trace(precondition(midpoint, sigma_0, n), CondOT())
    torch.testing.assert_close(found.times, expected.times, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(found.rows, expected.rows, rtol=1e-9, atol=1e-10)


def test_on_its_own_path_a_table_stays_as_it_is() -> None:
    table = euler_table(3)
    assert on_path(table, VP(), VP()) is table


@pytest.mark.parametrize("name", PATHS)
def test_a_change_can_be_differentiated(name: str) -> None:
    path, n = PATHS[name][0], 3
    table = on_reach(CANONICAL, n)

    def changed(inner: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        times = torch.cat([table.times[:1], inner, table.times[-1:]])
        found = on_path(NonStationarySolver.from_rows(times, rows), CANONICAL, path)
        return found.times, found.rows

    inputs = table.times[1:-1].clone().requires_grad_(), table.rows.requires_grad_()
    assert torch.autograd.gradcheck(changed, inputs, eps=1e-6, atol=1e-5, rtol=1e-4)


def test_canonical_times_have_the_closed_forms() -> None:
    t = torch.linspace(0.05, 0.95, 7, dtype=torch.float64)
    tangent = torch.tan(t * torch.pi / 2)
    torch.testing.assert_close(canonical_times(t, Cosine()), tangent / (1 + tangent))
    sigma = 80.0 + (0.002 - 80.0) * t
    torch.testing.assert_close(canonical_times(t, EDM()), 1 / (1 + sigma))
    assert canonical_times(t, CondOT()) is t


@pytest.mark.parametrize("name", PATHS)
def test_canonical_times_come_back_with_the_ends_of_the_interval(name: str) -> None:
    path, end = PATHS[name]
    times = torch.linspace(0.0, end, 6, dtype=torch.float64)
    told = canonical_times(times, path)
    assert (told.diff() > 0).all()
    back = from_canonical_times(told, path, (0.0, end))
    assert back[[0, -1]].tolist() == [0.0, end]
    torch.testing.assert_close(back, times, rtol=1e-9, atol=1e-10)


def test_times_beyond_an_interval_are_taken_for_its_ends() -> None:
    times = torch.tensor([0.0, 1e-4, 0.5, 1 - 1e-6, 1.0], dtype=torch.float64)
    found = from_canonical_times(times, EDM(), (0.0, 1.0))
    assert found[[0, 1, 3, 4]].tolist() == [0.0, 0.0, 1.0, 1.0]
    assert float(EDM().sigma(found[2])) == pytest.approx(1.0)


def test_trainings_on_all_paths_of_one_field_end_alike() -> None:
    """Between the same two noise levels, beyond which not every path goes."""
    found = {}
    for name in ("condot", "cosine", "vp", "edm", "ve"):
        path = PATHS[name][0]
        begin, end = path.time(torch.tensor([-3.9, 4.6], dtype=torch.float64)).tolist()
        source = blobs_source(path)
        source.model.interval = begin, end
        made = train_bns(Problem(source, effort=Effort(parts=(), validation=32)), 3, pairs=32, iterations=6)
        assert made.solver.times[[0, -1]].tolist() == [begin, end]
        # Where a little noise is left, states are of another size on every path: errors are those of x / alpha.
        found[name] = psnr(made.solver, source.pairs("test", 64), 2.0) + 20 * float(path.alpha(end).log10())
    assert min(found.values()) > 40
    assert max(found.values()) - min(found.values()) < 0.1, found


@pytest.mark.parametrize(("one", "other"), PAIRS, ids=lambda name: name)
def test_split_columns_are_told_on_another_path_as_well(one: str, other: str) -> None:
    path, new = PATHS[one][0], PATHS[other][0]
    begin, end = path.time(torch.tensor([-REACH, REACH], dtype=torch.float64)).tolist()
    table = random_split_table(5)
    table = NonStationarySolver.from_rows(begin + (end - begin) * table.times, table.rows, table.guidance)
    changed = on_path(table, path, new)
    assert changed.guidance == table.guidance
    model, seen = cross(path), cross(new)
    labels, x0, factors = torch.arange(4) % 2, noise(), scale(path, new, table.times)
    states = states_of_answers(table, model.field(labels, 2.0), x0)
    found = states_of_answers(changed, seen.field(labels, 2.0), factors[0] * x0)
    for i, state in enumerate(states):
        torch.testing.assert_close(found[i] / factors[i + 1], state, rtol=1e-7, atol=1e-8)
    torch.testing.assert_close(on_path(changed, new, path).rows, table.rows, rtol=1e-7, atol=1e-9)


def test_to_split_and_to_change_the_path_is_the_same_in_either_order() -> None:
    table = on_reach(VP(), 4)
    one, other = on_path(table, VP(), CANONICAL).split(2.0), on_path(table.split(2.0), VP(), CANONICAL)
    torch.testing.assert_close(other.rows, one.rows, rtol=1e-9, atol=1e-11)
