from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from bnsbench.errors import DivergedError
from bnsbench.nonstationary.table import NonStationarySolver
from bnsbench.training.objectives import LOG_MSE, make_objective
from bnsbench.training.optimisers.selection import IterateSelection, psnr
from bnsbench.training.problem import Cost, Problem, TrainingStatus
from bnsbench.truth.mixed_source import MixedSource
from bnsbench.truth.pairs import Pairs
from bnsbench.truth.psnr import psnr_per_sample
from tests.training.toys import cross_source, euler_table, plain_states

SOURCE = cross_source(guidance=1.0)


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    """Weighted pairs whose truth is a little off what Euler's method finds."""
    generator = torch.Generator().manual_seed(0)
    given = SOURCE.pairs("validation", 24)
    near = plain_states(euler_table(3), given.field, given.x0)[-1]
    noise = 0.05 * torch.randn(near.shape, generator=generator, dtype=torch.float64)
    return replace(given, x1=near + noise, weights=torch.rand(24, generator=generator) + 0.1)


def scaled(table: NonStationarySolver, factor: float) -> NonStationarySolver:
    """The table with its last row scaled, which spoils it the more the further the factor is from 1."""
    return table.with_row(table.nfe - 1, table.rows[-1] * factor)


BROKEN = scaled(euler_table(3), math.nan)


def selection(pairs: Pairs, *, problem: Problem | None = None, patience: int = 3, **more) -> IterateSelection:
    return IterateSelection(problem or Problem(SOURCE), LOG_MSE, pairs, 3, Cost(), patience, **more)


def test_the_psnr_is_the_weighted_mean_of_the_samples(pairs: Pairs) -> None:
    table = euler_table(3)
    each = psnr_per_sample(plain_states(table, pairs.field, pairs.x0)[-1], pairs.x1, 2.0)
    assert pairs.weights is not None
    weights = pairs.weights.double() / pairs.weights.double().sum()
    assert psnr(table, pairs, 2.0) == pytest.approx(float((weights * each).sum()), abs=1e-9)
    alike = replace(pairs, weights=None)
    assert psnr(table, alike, 2.0) == pytest.approx(float(each.mean()), abs=1e-9)
    assert psnr(table, alike, 4.0) == pytest.approx(float(each.mean()) + 20 * math.log10(2), abs=1e-9)
    assert psnr(BROKEN, pairs, 2.0) == -math.inf


def test_the_table_with_the_least_loss_is_kept_whenever_it_came(pairs: Pairs) -> None:
    chosen = selection(pairs)
    tables = [scaled(euler_table(3), factor) for factor in (1.3, 1.0, 1.1)]
    for k, table in enumerate(tables):
        chosen.check(table, "test", k, 3)
    assert chosen.result() is tables[1]
    assert chosen.best_psnr == pytest.approx(psnr(tables[1], pairs, 2.0))
    errors = (plain_states(tables[1], pairs.field, pairs.x0)[-1] - pairs.x1).square().mean(1)
    assert pairs.weights is not None
    weights = pairs.weights.double() / pairs.weights.double().sum()
    assert chosen.best_loss == pytest.approx(float((weights * errors.log()).sum()), abs=1e-9)
    losses = [point["loss"] for point in chosen.curve.points]
    assert chosen.best_loss == pytest.approx(min(losses), abs=1e-6)
    assert losses.index(min(losses)) == 1
    assert [point["iteration"] for point in chosen.curve.points] == [0, 1, 2]


def test_the_loss_decides_and_not_the_psnr(pairs: Pairs) -> None:
    """Of two tables, the objective's choice is kept, be its mean decibels lower."""
    truth = pairs.x1
    other = replace(pairs, x1=truth.clone(), weights=None)
    other.x1[:1] += 3.0  # one sample that only the mean square minds
    near = euler_table(3)
    wide = scaled(near, 1.4)
    picked = {}
    for name in ("log-mse", "mse"):
        chosen = replace(selection(other), objective=make_objective(name, None))
        for table in (near, wide):
            chosen.check(table, "test", 0, 1)
        states = [plain_states(table, other.field, other.x0)[-1] for table in (near, wide)]
        errors = torch.stack([(state - other.x1).square().mean(1) for state in states])
        wanted = errors.log().mean(1) if name == "log-mse" else errors.mean(1).log()
        assert chosen.best_loss == pytest.approx(float(wanted.min()), abs=1e-9)
        picked[name] = chosen.result() is near
        assert picked[name] == bool(wanted[0] < wanted[1])
    assert picked["log-mse"]


def asked(chosen: IterateSelection, *tables: NonStationarySolver) -> list[bool]:
    """Whether there is any point in going on no more, after each table."""
    found = []
    for table in tables:
        chosen.check(table, "test", 0, 9)
        found.append(chosen.exhausted)
    return found


def test_it_asks_to_stop_after_checks_without_a_worthwhile_gain(pairs: Pairs) -> None:
    chosen = selection(pairs, patience=2, smallest_gain=0.01)
    table = euler_table(3)
    assert asked(chosen, scaled(table, 1.5), table, table, scaled(table, 1.2)) == [False, False, False, True]
    assert asked(chosen, scaled(table, 1.2)) == [True]
    hardly = selection(pairs, patience=1, smallest_gain=100.0)
    assert asked(hardly, scaled(table, 1.5), table) == [False, True]
    assert torch.equal(hardly.result().rows, table.rows)  # too small a gain is a gain all the same


def test_tables_that_are_not_finite_are_never_kept(pairs: Pairs) -> None:
    chosen = selection(pairs)
    chosen.check(BROKEN, "test", 0, 2)
    assert chosen.curve.points[0]["loss"] == math.inf
    assert chosen.curve.points[0]["psnr"] == -math.inf
    with pytest.raises(DivergedError, match=r"No table of 3 NFE for cross at w=1 gave finite samples"):
        chosen.result()
    chosen.check(euler_table(3), "test", 1, 2)
    chosen.check(BROKEN, "test", 2, 2)
    assert torch.equal(chosen.result().rows, euler_table(3).rows)


def test_a_mixture_that_fails_names_its_scales(pairs: Pairs) -> None:
    mixture = Problem(MixedSource.of(SOURCE, (0.0, 2.5)))
    chosen = selection(pairs, problem=mixture)
    chosen.check(BROKEN, "test", 0, 1)
    with pytest.raises(DivergedError, match=r"0.*2\.5"):
        chosen.result()


def test_every_check_is_reported_counted_and_drawn(pairs: Pairs) -> None:
    told: list[TrainingStatus] = []
    chosen = selection(pairs, problem=Problem(SOURCE, progress=told.append))
    chosen.cost.training = 100
    chosen.check(scaled(euler_table(3), 1.3), "stage", 4, 9, damping=0.5)
    chosen.check(euler_table(3), "stage", 5, 9)
    chosen.check(scaled(euler_table(3), 1.3), "stage", 6, 9)
    first, second, third = told
    assert (first.nfe, first.stage, first.iteration, first.total, first.damping) == (3, "stage", 4, 9, 0.5)
    assert first.psnr < second.psnr == third.psnr
    assert first.loss == third.loss
    assert second.loss is not None
    assert first.loss is not None
    assert second.loss < first.loss
    assert chosen.cost.validation == 3 * 3 * 24
    assert third.forwards == 2 * (100 + 3 * 3 * 24)  # guided: two network forwards per evaluation
    assert [point["evaluations"] for point in chosen.curve.points] == [100, 100, 100]


def test_a_restored_selection_goes_on_as_the_saved_one(pairs: Pairs) -> None:
    saved, restored = selection(pairs, floor=0.5), selection(pairs, floor=0.5)
    saved.check(scaled(euler_table(3), 1.2), "test", 0, 3)
    saved.check(scaled(euler_table(3), 1.3), "test", 1, 3)
    restored.restore(saved.state())
    assert restored.idle == saved.idle == 1
    assert asked(saved, scaled(euler_table(3), 1.25)) == asked(restored, scaled(euler_table(3), 1.25))
    assert restored.curve.points == saved.curve.points
    assert restored.cost == saved.cost
    assert torch.equal(restored.result().rows, saved.result().rows)
    assert (restored.best_loss, restored.best_psnr) == (saved.best_loss, saved.best_psnr)
    assert restored.best_errors is not None
    assert saved.best_errors is not None
    assert torch.equal(restored.best_errors, saved.best_errors)
    empty = selection(pairs)
    empty.restore(selection(pairs).state())
    assert (empty.best, empty.best_errors) == (None, None)


def errors_of(table: NonStationarySolver, pairs: Pairs) -> np.ndarray:
    return (plain_states(table, pairs.field, pairs.x0)[-1] - pairs.x1).square().mean(1).numpy()


def floored_loss(errors: np.ndarray, pairs: Pairs, floor: float) -> float:
    assert pairs.weights is not None
    weights = pairs.weights.double().numpy()
    return float((weights * np.log(errors + floor)).sum() / weights.sum())


def lower_median(errors: np.ndarray) -> float:
    return float(np.sort(errors)[(len(errors) - 1) // 2])


def told(table: NonStationarySolver, pairs: Pairs, hit: float, missed: float) -> Pairs:
    """Pairs of which the table hits the first to ``hit`` and misses the others by ``missed``."""
    off = torch.full((len(pairs), 1), missed, dtype=torch.float64)
    off[0] = hit
    return replace(pairs, x1=plain_states(table, pairs.field, pairs.x0)[-1] + off)


def test_two_tables_are_compared_under_the_floor_of_the_better(pairs: Pairs) -> None:
    """By plain logarithms a table that hits one sample of four exactly is the better one; under a floor it is not."""
    near, wide = euler_table(3), scaled(euler_table(3), 1.02)
    few = replace(told(wide, pairs.part(slice(4)), 1e-6, 0.05), weights=torch.ones(4))
    errors = {table: errors_of(table, few) for table in (near, wide)}
    assert floored_loss(errors[wide], few, 0.0) < floored_loss(errors[near], few, 0.0) - 0.5
    for floor, picked in ((0.0, wide), (3.0, near)):
        shared = floor * min(map(lower_median, errors.values()))
        losses = {table: floored_loss(errors[table], few, shared) for table in errors}
        for first, second in ((near, wide), (wide, near)):
            chosen = selection(few, floor=floor)
            chosen.check(first, "test", 0, 1)
            chosen.check(second, "test", 1, 1)
            best = chosen.result()
            assert best is picked is min(losses, key=lambda table: losses[table])
            own = floor * lower_median(errors[best])
            assert chosen.best_loss == pytest.approx(floored_loss(errors[best], few, own), abs=1e-9)
            assert chosen.idle == (0 if best is second else 1)


@pytest.mark.parametrize("missed", [1e-6, -1e-6])
def test_a_gain_is_that_under_the_shared_floor(pairs: Pairs, missed: float) -> None:
    """Which differs from the difference of losses under floors of their own."""
    first, second = scaled(euler_table(3), 1.3), euler_table(3)
    errors = [errors_of(table, pairs) for table in (first, second)]
    floor = 2.0 * min(map(lower_median, errors))
    gain = floored_loss(errors[0], pairs, floor) - floored_loss(errors[1], pairs, floor)
    own = [floored_loss(each, pairs, 2.0 * lower_median(each)) for each in errors]
    assert abs(own[0] - own[1] - gain) > 1e-2
    chosen = selection(pairs, floor=2.0, smallest_gain=gain + missed)
    for table in (first, second):
        chosen.check(table, "test", 0, 1)
    assert chosen.result() is second
    assert chosen.idle == (1 if missed > 0 else 0)


def test_on_a_finer_truth_the_best_table_so_far_is_measured_again(pairs: Pairs) -> None:
    chosen = selection(pairs, floor=0.5)
    empty = selection(pairs)
    table = euler_table(3)
    chosen.check(scaled(table, 1.3), "test", 0, 2)
    chosen.check(table, "test", 1, 2)
    points, spent = list(chosen.curve.points), chosen.cost.validation
    finer = replace(pairs, x1=pairs.x1 + 0.3)
    for each in (chosen, empty):
        each.measure_again(finer)
        assert each.pairs is finer
    assert chosen.result() is table
    errors = errors_of(table, finer)
    assert chosen.best_errors is not None
    np.testing.assert_allclose(chosen.best_errors.numpy(), errors, rtol=1e-12)
    assert chosen.best_psnr == pytest.approx(psnr(table, finer, 2.0), abs=1e-9)
    assert chosen.best_loss == pytest.approx(floored_loss(errors, finer, 0.5 * lower_median(errors)), abs=1e-9)
    assert chosen.curve.points == points
    assert chosen.cost.validation == spent + 3 * len(finer)
    assert (empty.best, empty.best_errors, empty.cost.validation) == (None, None, 0)
    # What comes next is measured on the finer truth as well: the worse one of before may be better there.
    ahead = replace(finer, x1=plain_states(scaled(table, 1.3), finer.field, finer.x0)[-1] + 1e-3)
    chosen.measure_again(ahead)
    chosen.check(scaled(table, 1.3), "test", 2, 2)
    assert torch.equal(chosen.result().rows, scaled(table, 1.3).rows)
