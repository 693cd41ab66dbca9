from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from scipy.interpolate import CubicHermiteSpline
from scipy.linalg import hadamard
from torch import Tensor

from bnsbench.flows.fields import BatchField
from bnsbench.models.digits.mixture import digits_gmm
from bnsbench.nonstationary.table import NonStationarySolver
from bnsbench.training.families.parametrisation import Block, Coefficients, FreeTable, LinearMultistep, Parametrisation
from bnsbench.training.families.scale_time import ScaleTime
from bnsbench.training.objectives import Objective, make_objective
from bnsbench.training.optimisers.gauss_newton import GaussNewton, Iterate, damped_steps, lengthen
from bnsbench.training.optimisers.rollout import Rollout, run
from bnsbench.training.problem import Cost
from bnsbench.truth.pairs import Pairs, PairSource
from tests.training.toys import (
    as_model_field,
    bend,
    cross_source,
    euler_table,
    plain_states,
    plane_source,
    smooth_features,
    uniform,
)

COUNT, N = 12, 4
PHI = smooth_features()
OBJECTIVES = ("log-mse", "mse", "log-features", "features", "log-trajectory", "trajectory")
FAMILIES: dict[str, Parametrisation] = {
    "free": FreeTable(euler_table(N)),
    "multistep": LinearMultistep(uniform(N)),
    "scale-time": ScaleTime(N, (0.0, 1.0), 2),
}


def weighted(pairs: Pairs) -> Pairs:
    """Make the samples count differently."""
    return replace(pairs, weights=torch.rand(len(pairs), generator=torch.Generator().manual_seed(1)) + 0.1)


@pytest.fixture(scope="module")
def many() -> Pairs:
    """Guided pairs of several classes, with trajectories."""
    return weighted(cross_source(guidance=1.0, tolerance=1e-8).trajectories("train", 96))


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    """A few pairs of a field that is quick to evaluate, with trajectories."""
    return weighted(plane_source(bend, tolerance=1e-8).trajectories("train", COUNT))


def objective(name: str) -> Objective:
    return make_objective(name, PHI)


def newton(family: Parametrisation, name: str, pairs: Pairs, **more) -> GaussNewton:
    return GaussNewton(family, objective(name), pairs, Cost(), **more)


def somewhere(family: Parametrisation) -> Tensor:
    """Parameters a little away from the start, where nothing is zero by symmetry."""
    start = family.start()
    return start + 0.05 * torch.randn(start.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def at(family: Parametrisation, theta: Tensor, pairs: Pairs) -> Iterate:
    """Return the iterate of these very parameters, its last row not solved for."""
    table = family.table(theta)
    return Iterate(theta, table, run(table, pairs.field, pairs.x0), 0.0)


def plain_residuals(name: str, table: NonStationarySolver, pairs: Pairs) -> np.ndarray:
    """The residuals [N, m] from their definitions, with scipy's interpolation of the trajectory."""
    states = plain_states(table, pairs.field, pairs.x0)
    if name.endswith("features"):
        return (PHI(states[-1]) - PHI(pairs.x1)).numpy()
    if not name.endswith("trajectory"):
        return (states[-1] - pairs.x1).numpy()
    known = pairs.trajectory
    assert known is not None
    truth = CubicHermiteSpline(known.times.numpy(), known.x.numpy(), known.u.numpy(), axis=0)
    moments = table.times[1:].tolist()
    return np.concatenate([state.numpy() - truth(t) for state, t in zip(states, moments, strict=True)], axis=1)


def plain_weights(pairs: Pairs) -> np.ndarray:
    assert pairs.weights is not None
    return (pairs.weights.double() / pairs.weights.double().sum()).numpy()


def plain_loss(name: str, table: NonStationarySolver, pairs: Pairs) -> float:
    errors, weights = (plain_residuals(name, table, pairs) ** 2).mean(1), plain_weights(pairs)
    return float((weights * np.log(errors)).sum() if name.startswith("log-") else np.log((weights * errors).sum()))


@dataclass
class Exact:
    """What the system should be, from central differences of the residuals."""

    gradient: np.ndarray
    curvature: np.ndarray


def exact_system(name: str, family: Parametrisation, theta: Tensor, pairs: Pairs) -> Exact:
    step = 1e-6
    columns = []
    for k in range(len(theta)):
        h = step * torch.eye(len(theta), dtype=torch.float64)[k]
        ahead, behind = (plain_residuals(name, family.table(theta + sign * h), pairs) for sign in (1, -1))
        columns.append((ahead - behind) / (2 * step))
    jacobian = np.stack(columns, axis=2)
    residuals = plain_residuals(name, family.table(theta), pairs)
    errors, weights = (residuals**2).mean(1), plain_weights(pairs)
    importance = weights / errors if name.startswith("log-") else weights / (weights * errors).sum()
    m = residuals.shape[1]
    gradient = np.einsum("s,sm,smp->p", importance, residuals, jacobian) / m
    return Exact(gradient, np.einsum("s,smp,smq->pq", importance, jacobian, jacobian) / m)


def assert_matches(found: tuple[Tensor, Tensor], exact: Exact, tolerance: float) -> None:
    scale = np.sqrt(exact.curvature.diagonal())
    assert (scale > 0).all()
    np.testing.assert_allclose(found[0].numpy() / scale, exact.gradient / scale, rtol=0, atol=tolerance)
    scaled = found[1].numpy() / scale / scale[:, None]
    np.testing.assert_allclose(scaled, exact.curvature / scale / scale[:, None], rtol=0, atol=tolerance)


@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_gradient_is_exact_and_sign_patterns_that_average_to_the_identity_give_the_exact_matrix(
    pairs: Pairs, kind: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    family = FAMILIES[kind]
    theta = somewhere(family)
    residuals = plain_residuals(name, family.table(theta), pairs).shape[1]
    patterns = torch.from_numpy(hadamard(residuals))

    def every_pattern(low: int, high: int, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        assert (low, high, shape) == (0, 2, (residuals, COUNT, residuals))
        return ((patterns + 1) // 2)[:, None].expand(shape)

    monkeypatch.setattr(torch, "randint", every_pattern)
    rows = (residuals - 0.5) * COUNT / len(theta)
    found = newton(family, name, pairs, rows_per_parameter=rows).system(at(family, theta, pairs), 1)
    assert_matches(found, exact_system(name, family, theta, pairs), 1e-6)


@pytest.mark.parametrize("derivative", ["forward", "difference"])
@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("name", OBJECTIVES)
def test_forwards_both_gradient_and_matrix_are_exact(pairs: Pairs, kind: str, name: str, derivative) -> None:
    family = FAMILIES[kind]
    theta = somewhere(family)
    descent = newton(family, name, pairs, derivative=derivative, precision=torch.float64)
    found = descent.system(at(family, theta, pairs), 1)
    assert_matches(found, exact_system(name, family, theta, pairs), 1e-6 if derivative == "forward" else 1e-4)


@pytest.mark.parametrize("name", ["log-mse", "mse", "log-features", "trajectory"])
def test_twice_the_gradient_is_the_slope_of_the_loss(pairs: Pairs, name: str) -> None:
    family = FAMILIES["free"]
    theta = somewhere(family)
    gradient, _ = newton(family, name, pairs).system(at(family, theta, pairs), 1)
    for k in range(len(theta)):
        h = 1e-6 * torch.eye(len(theta), dtype=torch.float64)[k]
        ahead, behind = (plain_loss(name, family.table(theta + sign * h), pairs) for sign in (1, -1))
        assert 2 * float(gradient[k]) == pytest.approx((ahead - behind) / 2e-6, rel=1e-5, abs=1e-5)


def test_drawn_sketches_are_new_at_every_iteration_and_their_mean_is_the_exact_matrix(pairs: Pairs) -> None:
    family = FAMILIES["free"]
    theta = somewhere(family)
    iterate = at(family, theta, pairs)
    descent = newton(family, "log-mse", pairs, rows_per_parameter=14.0)
    drawn = [descent.system(iterate, iteration)[1] for iteration in range(30)]
    assert not torch.equal(drawn[0], drawn[1])
    assert torch.equal(drawn[0], newton(family, "log-mse", pairs, rows_per_parameter=14.0).system(iterate, 0)[1])
    other = newton(family, "log-mse", pairs, rows_per_parameter=14.0, seed=1)
    assert not torch.equal(drawn[0], other.system(iterate, 0)[1])
    exact = exact_system("log-mse", family, theta, pairs)
    scale = np.sqrt(exact.curvature.diagonal())
    mean = torch.stack(drawn).mean(0).numpy() / scale / scale[:, None]
    np.testing.assert_allclose(mean, exact.curvature / scale / scale[:, None], rtol=0, atol=0.08)


class Asked:
    """A field that notes how many samples it is asked about, in all of its parts."""

    forwards_per_evaluation = 1

    def __init__(self, field: BatchField, asked: list[int]) -> None:
        self.field, self.path, self.interval, self.asked = field, field.path, field.interval, asked

    def __call__(self, t: Tensor, x: Tensor) -> Tensor:
        self.asked.append(len(x))
        return self.field(t, x)

    def part(self, index: Tensor | slice) -> Asked:
        return Asked(self.field.part(index), self.asked)


@pytest.mark.parametrize(("samples", "parts"), [(0.5, [1] * COUNT), (5, [5, 5, 2]), (11.9, [11, 1]), (12, [12]), (99, [12])])
@pytest.mark.parametrize("name", ["mse", "log-trajectory"])
def test_samples_taken_in_parts_hold_so_many_numbers_and_add_up_to_the_same_system(
    many: Pairs, name: str, samples: float, parts: list[int]
) -> None:
    """Two tangents, of states and of velocities, for every parameter and compared state of two coordinates."""
    family, asked, pairs = FAMILIES["free"], list[int](), many.part(slice(COUNT))
    iterate = at(family, somewhere(family), pairs)
    whole = newton(family, name, pairs, derivative="forward").system(iterate, 1)
    held = math.floor(samples * 2 * N * len(iterate.theta) * 2)
    watched = replace(pairs, field=as_model_field(Asked(pairs.field, asked)))
    found = newton(family, name, watched, derivative="forward", numbers_held=held).system(iterate, 1)
    torch.testing.assert_close(found, whole)
    assert [size for size, _ in itertools.groupby(asked)] == [size for size, _ in itertools.groupby(parts)]
    assert len(asked) % len(parts) == 0
    assert sum(asked) * len(parts) == len(asked) * COUNT


@pytest.mark.parametrize("derivative", ["backward", "difference"])
def test_the_cost_is_what_the_field_is_asked(pairs: Pairs, derivative) -> None:
    asked: list[int] = []
    family = FAMILIES["free"]
    rows = 2.9 * COUNT / len(family.start())  # three sketches
    counted = replace(pairs, field=as_model_field(Asked(pairs.field, asked)))
    descent = newton(family, "mse", counted, derivative=derivative, precision=torch.float64, rows_per_parameter=rows)
    iterate = descent.evaluate(family.start())
    assert descent.cost.training == sum(asked) == N * COUNT
    descent.system(iterate, 1)
    if derivative == "difference":
        assert descent.cost.training == sum(asked)
    else:  # every evaluation but the first once more, and a backward pass, twice as dear, for each of four cotangents
        assert sum(asked) == (2 * N - 1) * COUNT
        assert descent.cost.training == sum(asked) + (N - 1) * COUNT * 2 * 4


@pytest.mark.parametrize("name", ["log-mse", "mse"])
def test_the_last_row_is_the_best_one_of_its_times_and_other_rows(many: Pairs, name: str) -> None:
    family = FAMILIES["free"]
    theta = somewhere(family)
    projected = newton(family, name, many).evaluate(theta)
    given = family.table(theta)
    torch.testing.assert_close(projected.table.times, given.times)
    torch.testing.assert_close(projected.table.rows[:-1], given.rows[:-1])
    assert projected.loss < plain_loss(name, given, many) - 0.5
    assert projected.loss == pytest.approx(plain_loss(name, projected.table, many), abs=1e-6)
    torch.testing.assert_close(family.table(projected.theta).rows, projected.table.rows)

    # Ordinary weighted least squares: the plain errors' minimum, and where the passes for logarithms begin.
    states = [many.x0, *plain_states(given, many.field, many.x0)]
    velocities = [many.field(t, x) for t, x in zip(given.times[:-1], states, strict=False)]
    root = np.sqrt(plain_weights(many))[:, None]
    basis = np.stack([(root * column.numpy()).ravel() for column in (many.x0, *velocities)], axis=1)
    row = torch.from_numpy(np.linalg.lstsq(basis, (root * many.x1.numpy()).ravel(), rcond=None)[0])
    if name == "mse":
        torch.testing.assert_close(projected.table.rows[-1], row, rtol=1e-6, atol=1e-8)
    else:
        assert projected.loss < plain_loss(name, given.with_row(N - 1, row), many) - 0.01


def test_the_last_row_is_left_alone_where_objective_or_family_ask_for_it(pairs: Pairs) -> None:
    free, rows = FAMILIES["free"], Coefficients(euler_table(N))
    theta = somewhere(free)
    size = len(theta)
    cases = [(free, name) for name in OBJECTIVES[2:]]
    cases += [(FAMILIES["multistep"], "log-mse"), (FAMILIES["scale-time"], "mse")]
    cases += [(Block(free, theta, torch.arange(N - 1)), "log-mse")]
    for family, name in cases:
        start = somewhere(family)
        iterate = newton(family, name, pairs).evaluate(start)
        assert torch.equal(iterate.theta, start)
        assert torch.equal(iterate.table.rows, family.table(start).rows)
        assert iterate.loss == pytest.approx(plain_loss(name, iterate.table, pairs), abs=1e-9)
    for family in (Block(free, theta, torch.arange(N - 1, size)), rows):
        start = somewhere(family)
        iterate = newton(family, "log-mse", pairs).evaluate(start)
        assert not torch.equal(iterate.table.rows[-1], family.table(start).rows[-1])
        torch.testing.assert_close(family.table(iterate.theta).rows, iterate.table.rows)


def test_steps_solve_the_damped_system_and_bound_logarithms() -> None:
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(5, 5, generator=generator, dtype=torch.float64)
    curvature, gradient = root @ root.T + torch.eye(5), torch.randn(5, generator=generator, dtype=torch.float64) * 0.1
    move = damped_steps(gradient, curvature, 0)(0.5)
    damped = curvature + 0.5 * torch.diag(curvature.diagonal())
    torch.testing.assert_close(damped @ move, -gradient)
    free, bounded = (damped_steps(1e3 * gradient, curvature, bound)(1e-6) for bound in (0, 3))
    assert free[:3].abs().max() > 2
    torch.testing.assert_close(bounded[:3], free[:3].clamp(-2, 2))
    torch.testing.assert_close(bounded[3:], free[3:])


def test_parameters_without_an_effect_stay_where_they_are() -> None:
    root = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    root[:, 1] = 0.0
    root[:, 2] = 1e-16 * root[:, 0]  # what rounding leaves of nothing
    gradient = root.T @ torch.ones(6, dtype=torch.float64)
    move = damped_steps(gradient, root.T @ root, 0)(1e-3)
    assert move[1] == move[2] == 0
    felt = root[:, [0, 3]].T @ root[:, [0, 3]]
    torch.testing.assert_close(move[[0, 3]], damped_steps(gradient[[0, 3]], felt, 0)(1e-3))
    assert (damped_steps(torch.zeros(3), torch.zeros(3, 3), 0)(1e-3) == 0).all()
    assert len(damped_steps(torch.zeros(0), torch.zeros(0, 0), 0)(1e-3)) == 0


def test_the_logarithms_of_bespoke_rules_are_bounded_as_log_gaps_are(pairs: Pairs, monkeypatch: pytest.MonkeyPatch) -> None:
    family = FAMILIES["scale-time"]
    descent = newton(family, "log-mse", pairs)
    iterate = descent.evaluate(family.start())
    size = len(iterate.theta)
    asked: list[Tensor] = []

    def evaluate(theta: Tensor) -> Iterate:
        asked.append(theta - iterate.theta)
        return iterate

    monkeypatch.setattr(descent, "system", lambda *_: (1e9 * torch.ones(size).double(), torch.eye(size).double()))
    monkeypatch.setattr(descent, "evaluate", evaluate)
    descent.step(iterate, 1, 1e-3)
    assert (asked[0][: 3 * N - 1] == -2).all()
    assert (asked[0][3 * N - 1 :] < -1e6).all()


def test_trials_that_leave_the_finite_numbers_are_rejected_and_counted(
    pairs: Pairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    family = FAMILIES["free"]
    descent = newton(family, "trajectory", pairs)
    iterate = descent.evaluate(family.start())
    size = len(iterate.theta)
    far = (1e300 * torch.ones(size).double(), torch.eye(size).double())
    monkeypatch.setattr(descent, "system", lambda *_: far)
    kept, damping = descent.step(iterate, 1, 1e-3)
    assert kept is iterate
    assert damping == 1e-3
    # Every trial is counted as rejected and as paid for, several dampings beside each other and ever larger ones.
    trials = descent.rejected
    assert trials > len(descent.damping_factors)
    assert trials % len(descent.damping_factors) == 0
    assert descent.cost.training == (1 + trials) * N * COUNT
    assert descent.evaluate(iterate.theta + 1e300).loss == math.inf
    assert descent.rejected == trials + 1


def test_a_system_that_is_not_finite_moves_nothing_and_tries_nothing(pairs: Pairs, monkeypatch: pytest.MonkeyPatch) -> None:
    family = FAMILIES["free"]
    descent = newton(family, "mse", pairs)
    iterate = descent.evaluate(family.start())
    size, spent = len(iterate.theta), descent.cost.training
    for fault in ((torch.full((size,), math.nan), torch.eye(size)), (torch.ones(size), torch.full((size, size), math.inf))):
        monkeypatch.setattr(descent, "system", lambda *_, fault=fault: fault)
        assert descent.step(iterate, 1, 0.5) == (iterate, 0.5)
    assert descent.cost.training == spent


def solved_by_numpy(gradient: Tensor, curvature: Tensor, damping: float, logarithms: int) -> Tensor:
    """-(H + damping diag H)^-1 g, no logarithm of which is changed by more than 2."""
    damped = curvature.numpy() + damping * np.diag(curvature.numpy().diagonal())
    move = -np.linalg.solve(damped, gradient.numpy())
    move[:logarithms] = move[:logarithms].clip(-2, 2)
    return torch.from_numpy(move)


def test_the_best_of_the_dampings_is_kept_with_its_iterate(many: Pairs) -> None:
    family = FAMILIES["multistep"]
    descent = newton(family, "mse", many)
    iterate = descent.evaluate(family.start())
    gradient, curvature = descent.system(iterate, 7)
    moves = {d: solved_by_numpy(gradient, curvature, d, family.logarithms) for d in (1.0, 10.0, 0.1)}
    losses = {d: plain_loss("mse", family.table(iterate.theta + move), many) for d, move in moves.items()}
    best = min(losses, key=lambda d: losses[d])
    found, damping = descent.step(iterate, 7, 1.0)
    assert damping == pytest.approx(best)
    assert found.loss == pytest.approx(losses[best], abs=1e-9)
    assert found.loss < iterate.loss


def test_steps_descend_far_on_the_digits_and_are_reproducible() -> None:
    digits = PairSource(digits_gmm(), "digits-gmm", tolerance=1e-4).pairs("train", 64)
    ends = []
    for _ in range(2):
        descent = newton(FreeTable(euler_table(N)), "log-mse", digits)
        iterate, damping = descent.evaluate(descent.family.start()), 1e-3
        losses = [iterate.loss]
        for iteration in range(6):
            iterate, damping = descent.step(iterate, iteration, damping)
            losses.append(iterate.loss)
        ends.append(iterate.table)
    assert all(after <= before for before, after in itertools.pairwise(losses))
    assert (losses[0] - losses[-1]) * 10 / math.log(10) > 8  # decibels
    assert (ends[0].times.diff() > 0).all()
    assert torch.equal(ends[0].rows, ends[1].rows)
    assert torch.equal(ends[0].times, ends[1].times)


@pytest.mark.parametrize("derivative", ["backward", "forward", "difference"])
def test_fields_that_know_no_time_or_nothing_at_all_are_differentiated_too(derivative) -> None:
    steady = plane_source(lambda t, x: bend(torch.full_like(x, 0.3), x)).pairs("train", COUNT)
    constant = plane_source(lambda t, x: torch.full_like(x, 0.7)).pairs("train", COUNT)
    missed = replace(constant, x1=constant.x1 + constant.x0.sin())
    for given in (replace(found, weights=torch.ones(COUNT)) for found in (steady, missed)):
        for kind in ("free", "multistep"):
            family = FAMILIES[kind]
            theta = somewhere(family)
            descent = newton(family, "mse", given, derivative=derivative, precision=torch.float64)
            gradient, _ = descent.system(at(family, theta, given), 1)
            exact = exact_system("mse", family, theta, given)
            np.testing.assert_allclose(gradient.numpy(), exact.gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("lowest", "reached"), [(10.0, 8.0), (1.4, 1.0), (70.0, 64.0)])
def test_a_step_that_helps_is_doubled_while_it_helps(lowest: float, reached: float) -> None:
    """From 0 by 1, of a loss that is least at ``lowest``: 1, 2, 4, ... up to the last that is better than the one before."""

    table = euler_table(1)
    nowhere = Rollout(torch.zeros(2, 1, 1), torch.zeros(2, 1, 1))

    def parabola(theta: Tensor) -> Iterate:
        return Iterate(theta, table, nowhere, float((theta - lowest) ** 2))

    zero, one = torch.zeros(()), torch.ones(())
    found = lengthen(parabola, parabola(one), zero, one)
    assert float(found.theta) == reached
