from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from scipy.interpolate import CubicHermiteSpline
from torch import Tensor

from bnsbench.flows.fields import BatchField, FunctionField
from bnsbench.flows.paths import CondOT
from bnsbench.models.digits.mixture import digits_gmm
from bnsbench.nonstationary.table import NonStationarySolver
from bnsbench.training.families.parametrisation import Block, Coefficients, FreeTable, LinearMultistep, Parametrisation
from bnsbench.training.families.scale_time import ScaleTime
from bnsbench.training.objectives import Objective, make_objective
from bnsbench.training.optimisers.forward_derivatives import Derivative
from bnsbench.training.optimisers.gauss_newton import GaussNewton, Iterate, damped_steps
from bnsbench.training.optimisers.rollout import run
from bnsbench.training.problem import Cost
from bnsbench.truth.pairs import Pairs, PairSource
from tests.training.toys import (
    as_model_field,
    bend,
    cross_source,
    euler_table,
    plain_states,
    plane_source,
    random_split_table,
    smooth_features,
    states_of_answers,
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
    """Return the iterate of these very parameters, its last row not solved for, without errors for a system to look at."""
    table = family.table(theta)
    return Iterate(theta, table, run(table, pairs.field, pairs.x0), torch.full((len(pairs),), torch.nan), 0.0)


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


def plain_loss(name: str, table: NonStationarySolver, pairs: Pairs, floor: float = 0.0) -> float:
    errors, weights = (plain_residuals(name, table, pairs) ** 2).mean(1), plain_weights(pairs)
    return float((weights * np.log(errors + floor)).sum() if name.startswith("log-") else np.log((weights * errors).sum()))


@dataclass
class Exact:
    """What the system should be, from central differences of the residuals, with these J [N, m, p] and W [N] themselves."""

    gradient: np.ndarray
    curvature: np.ndarray
    jacobian: np.ndarray
    importance: np.ndarray


def exact_system(name: str, family: Parametrisation, theta: Tensor, pairs: Pairs, floor: float = 0.0) -> Exact:
    step = 1e-6
    columns = []
    for k in range(len(theta)):
        h = step * torch.eye(len(theta), dtype=torch.float64)[k]
        ahead, behind = (plain_residuals(name, family.table(theta + sign * h), pairs) for sign in (1, -1))
        columns.append((ahead - behind) / (2 * step))
    jacobian = np.stack(columns, axis=2)
    residuals = plain_residuals(name, family.table(theta), pairs)
    errors, weights = (residuals**2).mean(1), plain_weights(pairs)
    importance = weights / (errors + floor) if name.startswith("log-") else weights / (weights * errors).sum()
    m = residuals.shape[1]
    gradient = np.einsum("s,sm,smp->p", importance, residuals, jacobian) / m
    return Exact(gradient, np.einsum("s,smp,smq->pq", importance, jacobian, jacobian) / m, jacobian, importance)


def sketched(exact: Exact, signs: np.ndarray) -> Exact:
    """The system whose matrix is seen through these signs [K, N, m]."""
    rows = np.einsum("s,ksm,smp->ksp", np.sqrt(exact.importance), signs, exact.jacobian).reshape(-1, len(exact.gradient))
    return replace(exact, curvature=rows.T @ rows / (len(signs) * signs.shape[2]))


def rows_for(sketches: int, family: Parametrisation) -> float:
    """Return the rows per parameter that ask for so many sketches of COUNT pairs."""
    return (sketches - 0.5) * COUNT / len(family.start())


def assert_matches(found: tuple[Tensor, Tensor], exact: Exact, tolerance: float) -> None:
    scale = np.sqrt(exact.curvature.diagonal())
    assert (scale > 0).all()
    np.testing.assert_allclose(found[0].numpy() / scale, exact.gradient / scale, rtol=0, atol=tolerance)
    scaled = found[1].numpy() / scale / scale[:, None]
    np.testing.assert_allclose(scaled, exact.curvature / scale / scale[:, None], rtol=0, atol=tolerance)


@pytest.mark.parametrize("floor", [0.0, 0.05])
@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("name", OBJECTIVES)
def test_backwards_both_gradient_and_matrix_are_exact_where_residuals_are_no_more_than_sketches(
    pairs: Pairs, kind: str, name: str, floor: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is drawn then."""
    family = FAMILIES[kind]
    theta = somewhere(family)
    residuals = plain_residuals(name, family.table(theta), pairs).shape[1]
    monkeypatch.delattr(torch, "randint")
    descent = newton(family, name, pairs, rows_per_parameter=rows_for(residuals, family), floor=floor)
    found = descent.system(at(family, theta, pairs), 1)
    assert_matches(found, exact_system(name, family, theta, pairs, floor), 1e-6)


def draws(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Return the list to which every drawing of signs is added, as 0 and 1."""
    drawn, randint = list[Tensor](), torch.randint

    def noting(*args, **more) -> Tensor:
        drawn.append(randint(*args, **more))
        return drawn[-1]

    monkeypatch.setattr(torch, "randint", noting)
    return drawn


@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("name", ["log-trajectory", "trajectory"])
@pytest.mark.parametrize("sketches", [1, 5, 2 * N - 1])
def test_else_the_matrix_is_seen_through_random_signs_and_the_gradient_is_exact(
    pairs: Pairs, kind: str, name: str, sketches: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    family, drawn = FAMILIES[kind], draws(monkeypatch)
    theta = somewhere(family)
    descent = newton(family, name, pairs, rows_per_parameter=rows_for(sketches, family))
    found = descent.system(at(family, theta, pairs), 1)
    (signs,) = drawn
    assert signs.shape == (sketches, COUNT, 2 * N)
    assert set(signs.unique().tolist()) == {0, 1}
    exact = exact_system(name, family, theta, pairs)
    assert_matches(found, sketched(exact, 2.0 * signs.numpy() - 1.0), 1e-6)
    # Far from the exact one with few sketches, so that the two can be told apart.
    scale = exact.curvature.diagonal() ** 0.5
    assert np.abs((found[1].numpy() - exact.curvature) / scale / scale[:, None]).max() > 1e-2


@pytest.mark.parametrize(("width", "asked"), [(4, 0), (5, 1)])
def test_up_to_four_residuals_are_never_sketched(
    pairs: Pairs, width: int, asked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    family, drawn = FAMILIES["multistep"], draws(monkeypatch)
    aim = make_objective("features", smooth_features(width=width))
    descent = GaussNewton(family, aim, pairs, Cost(), rows_per_parameter=0.1)
    descent.system(at(family, somewhere(family), pairs), 1)
    assert [signs.shape for signs in drawn] == asked * [(1, COUNT, 5)]


@pytest.mark.parametrize("floor", [0.0, 0.05])
@pytest.mark.parametrize("derivative", ["forward", "difference"])
@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("name", OBJECTIVES)
def test_forwards_both_gradient_and_matrix_are_exact(pairs: Pairs, kind: str, name: str, derivative, floor: float) -> None:
    family = FAMILIES[kind]
    theta = somewhere(family)
    descent = newton(family, name, pairs, derivative=derivative, precision=torch.float64, floor=floor)
    found = descent.system(at(family, theta, pairs), 1)
    assert_matches(found, exact_system(name, family, theta, pairs, floor), 1e-6 if derivative == "forward" else 1e-4)


@pytest.mark.parametrize("floor", [0.0, 0.05])
@pytest.mark.parametrize("name", ["log-mse", "mse", "log-features", "trajectory"])
def test_twice_the_gradient_is_the_slope_of_the_loss(pairs: Pairs, name: str, floor: float) -> None:
    family = FAMILIES["free"]
    theta = somewhere(family)
    gradient, _ = newton(family, name, pairs, floor=floor).system(at(family, theta, pairs), 1)
    for k in range(len(theta)):
        h = 1e-6 * torch.eye(len(theta), dtype=torch.float64)[k]
        ahead, behind = (plain_loss(name, family.table(theta + sign * h), pairs, floor) for sign in (1, -1))
        assert 2 * float(gradient[k]) == pytest.approx((ahead - behind) / 2e-6, rel=1e-5, abs=1e-5)


def test_drawn_sketches_are_new_at_every_iteration_and_their_mean_is_the_exact_matrix(pairs: Pairs) -> None:
    family, name = FAMILIES["free"], "log-trajectory"
    theta, rows = somewhere(family), rows_for(7, family)
    iterate = at(family, theta, pairs)
    descent = newton(family, name, pairs, rows_per_parameter=rows)
    drawn = [descent.system(iterate, iteration)[1] for iteration in range(40)]
    assert not torch.equal(drawn[0], drawn[1])
    assert torch.equal(drawn[0], newton(family, name, pairs, rows_per_parameter=rows).system(iterate, 0)[1])
    other = newton(family, name, pairs, rows_per_parameter=rows, seed=1)
    assert not torch.equal(drawn[0], other.system(iterate, 0)[1])
    exact = exact_system(name, family, theta, pairs)
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


@pytest.mark.parametrize(
    ("name", "derivative", "cotangents"),
    [("mse", "backward", 1 + 2), ("trajectory", "backward", 1 + 3), ("mse", "difference", 0)],
    ids=["residuals", "sketches", "difference"],
)
def test_the_cost_is_what_the_field_is_asked(pairs: Pairs, name: str, derivative, cotangents: int) -> None:
    """Two residuals one by one, three sketches of eight, or no way back at all."""
    asked: list[int] = []
    family = FAMILIES["free"]
    counted = replace(pairs, field=as_model_field(Asked(pairs.field, asked)))
    rows = rows_for(3, family)
    descent = newton(family, name, counted, derivative=derivative, precision=torch.float64, rows_per_parameter=rows)
    iterate = descent.evaluate(family.start())
    assert descent.cost.training == sum(asked) == N * COUNT
    descent.system(iterate, 1)
    if derivative == "difference":
        assert descent.cost.training == sum(asked)
    else:  # every evaluation but the first once more, and a backward pass, twice as dear, for each cotangent
        assert sum(asked) == (2 * N - 1) * COUNT
        assert descent.cost.training == sum(asked) + (N - 1) * COUNT * 2 * cotangents


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
    # Every trial is counted as rejected and as paid for, under dampings from 1e-3 to 1e5, each ten times the one before.
    trials = descent.rejected
    assert trials == 9
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


@pytest.mark.parametrize("damping", [1.0, 1e-2])
def test_a_step_is_the_damped_one_that_lowers_the_loss_first(many: Pairs, damping: float) -> None:
    """On a field where that is the one damped by 1, which gains 97 % of what was foretold."""
    family = FAMILIES["multistep"]
    descent = newton(family, "mse", many)
    iterate = descent.evaluate(family.start())
    gradient, curvature = descent.system(iterate, 7)
    moves = {d: solved_by_numpy(gradient, curvature, d, family.logarithms) for d in (1e-2, 1e-1, 1.0)}
    losses = [plain_loss("mse", family.table(iterate.theta + move), many) for move in moves.values()]
    assert losses[2] < iterate.loss < min(losses[:2])
    found, following = descent.step(iterate, 7, damping)
    assert found.loss == pytest.approx(losses[2], abs=1e-9)
    torch.testing.assert_close(found.theta, iterate.theta + moves[1.0])
    assert following == pytest.approx(0.2)


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


@pytest.mark.parametrize("name", ["log-mse", "mse"])
def test_under_another_floor_the_last_row_is_another_and_nothing_is_evaluated(many: Pairs, name: str) -> None:
    family = FAMILIES["free"]
    descent = newton(family, name, many)
    bare = descent.evaluate(somewhere(family))
    floor, spent = float(bare.errors.median()), descent.cost.training
    found = descent.under(floor, bare)
    assert descent.floor == floor
    assert descent.cost.training == spent
    torch.testing.assert_close(found.table.rows[:-1], bare.table.rows[:-1])
    assert found.loss == pytest.approx(plain_loss(name, found.table, many, floor), abs=1e-9)
    errors = (plain_residuals(name, found.table, many) ** 2).mean(1)
    np.testing.assert_allclose(found.errors.numpy(), errors, rtol=1e-6)
    torch.testing.assert_close(family.table(found.theta).rows, found.table.rows)
    if name == "mse":  # there is no floor
        assert found.loss == pytest.approx(bare.loss, abs=1e-12)
        return
    assert found.loss < plain_loss(name, bare.table, many, floor) - 1e-3
    # Least squares by NumPy from pass to pass, with the weights W / (e + f).
    states = [many.x0, *plain_states(found.table, many.field, many.x0)]
    velocities = [many.field(t, x) for t, x in zip(found.table.times[:-1], states, strict=False)]
    basis, target = np.stack([column.numpy() for column in (many.x0, *velocities)]), many.x1.numpy()
    counts = plain_weights(many)
    for _ in range(6):
        root = np.sqrt(counts)[:, None]
        row = np.linalg.lstsq((root * basis).reshape(N + 1, -1).T, (root * target).ravel(), rcond=None)[0]
        residuals = np.einsum("i,isd->sd", row, basis) - target
        counts = plain_weights(many) / ((residuals**2).mean(1) + floor)
    np.testing.assert_allclose(found.table.rows[-1].numpy(), row, rtol=1e-5, atol=1e-7)


def test_under_a_floor_rows_that_are_not_solved_for_stay(pairs: Pairs) -> None:
    family = FAMILIES["multistep"]
    descent = newton(family, "log-mse", pairs)
    bare = descent.evaluate(somewhere(family))
    found = descent.under(0.3, bare)
    assert torch.equal(found.table.rows, bare.table.rows)
    assert found.loss == pytest.approx(plain_loss("log-mse", bare.table, pairs, 0.3), abs=1e-9)


def test_parameters_that_were_tried_before_are_run_again_as_they_are(pairs: Pairs) -> None:
    """Under a floor, the last row that was kept is not what a new solve without one would give."""
    family = FAMILIES["free"]
    descent = newton(family, "log-mse", pairs, floor=0.1)
    kept = descent.evaluate(somewhere(family))
    other = newton(family, "log-mse", pairs)
    found = other.present(kept.theta)
    assert torch.equal(found.table.rows, kept.table.rows)
    torch.testing.assert_close(found.errors, kept.errors)
    assert found.loss == pytest.approx(plain_loss("log-mse", kept.table, pairs), abs=1e-9)
    assert other.cost.training == 0
    assert other.evaluate(kept.theta).loss < found.loss - 1e-3


@pytest.mark.parametrize("derivative", ["backward", "forward"])
def test_a_start_whose_states_are_not_finite_stays_and_says_nothing_of_pairs(pairs: Pairs, derivative) -> None:
    family = FreeTable(NonStationarySolver.from_rows(uniform(N), 1e200 * euler_table(N).rows))
    descent = newton(family, "log-mse", pairs, derivative=derivative)
    broken = descent.evaluate(family.start())
    assert broken.loss == math.inf
    assert (broken.errors == math.inf).all()
    assert descent.under(0.1, broken).loss == math.inf
    assert descent.step(broken, 1, 0.5) == (broken, 0.5)
    assert descent.excess == math.inf


def refit(x0: np.ndarray, noise: np.ndarray) -> tuple[GaussNewton, Iterate]:
    """One step whose two numbers are fitted to x_1 = 0.5 x_0 - 0.3 u_0 + noise, where u_0 is x_0 with its entries turned."""
    start = torch.from_numpy(x0)
    field = as_model_field(FunctionField(lambda t, x: x.roll(1, -1), CondOT()))
    given = Pairs(start, 0.5 * start - 0.3 * start.roll(1, -1) + torch.from_numpy(noise), field, 0.0)
    family = FreeTable(euler_table(1))
    descent = newton(family, "mse", given)
    return descent, descent.evaluate(family.start())


def excess_of(descent: GaussNewton, iterate: Iterate) -> float:
    descent.system(iterate, 0)
    return descent.excess


@pytest.mark.parametrize(("count", "dim"), [(50, 4), (200, 4), (200, 30)])
def test_the_excess_of_a_linear_model_with_gaussian_noise_is_its_parameters_by_its_numbers(count: int, dim: int) -> None:
    """p / (N m), as every textbook has it, whatever the noise's size."""
    draw = np.random.default_rng(0)
    for size in (1.0, 1e-4):
        found = [
            excess_of(*refit(draw.standard_normal((count, dim)), size * draw.standard_normal((count, dim))))
            for _ in range(20)
        ]
        assert np.mean(found) == pytest.approx(2 / (count * dim), rel=0.12)


def test_the_excess_is_what_refits_lose_on_all_samples_where_noise_is_uneven() -> None:
    """Noise that grows as |x_0|^2, so that few samples decide: a simulation by NumPy, far from p / (N m)."""
    draw, count, dim, refits = np.random.default_rng(1), 400, 2, 300

    def sample(many: int) -> tuple[np.ndarray, np.ndarray]:
        x0 = draw.standard_normal((many, dim))
        return x0, (x0**2).sum(1, keepdims=True) * draw.standard_normal((many, dim))

    # By moments of Gaussians: E |x|^4 = 8 is the least error of all, and the design of two numbers is the identity.
    least, lost = 8.0, []
    for _ in range(refits):
        x0, noise = sample(count)
        columns = np.stack([x0.ravel(), np.roll(x0, 1, -1).ravel()], axis=1)
        off = np.linalg.lstsq(columns, noise.ravel(), rcond=None)[0]
        lost.append(np.log1p((off @ off) / least))
    told = [excess_of(*refit(*sample(count))) for _ in range(20)]
    assert np.mean(told) == pytest.approx(np.mean(lost), rel=0.2)
    assert np.mean(told) > 2.5 * 2 / (count * dim)


@pytest.mark.parametrize("name", ["log-mse", "mse", "log-trajectory"])
def test_the_excess_is_takeuchi_s_criterion(pairs: Pairs, name: str) -> None:
    """tr(H^-1 V) / 2 N by NumPy from differences of the residuals; of samples that weigh alike, N is their number."""
    family = FAMILIES["multistep"]
    theta, even = somewhere(family), replace(pairs, weights=torch.ones(COUNT))
    exact, residuals = exact_system(name, family, theta, even), plain_residuals(name, family.table(theta), even)
    each = 2 * COUNT * np.einsum("s,sm,smp->sp", exact.importance, residuals, exact.jacobian) / residuals.shape[1]
    scatter, hessian = each.T @ each / COUNT, 2 * exact.curvature
    wanted = np.trace(np.linalg.solve(hessian, scatter)) / (2 * COUNT)
    rows = rows_for(residuals.shape[1], family)
    for derivative in ("backward", "forward"):
        descent = newton(family, name, even, derivative=derivative, rows_per_parameter=rows)
        assert descent.excess == math.inf
        descent.system(at(family, theta, even), 1)
        assert descent.excess == pytest.approx(wanted, rel=1e-3)


def test_samples_of_no_weight_do_not_count_for_the_excess(pairs: Pairs) -> None:
    family = FAMILIES["multistep"]
    theta = somewhere(family)
    half = replace(pairs.part(slice(6)), weights=torch.ones(6))
    weights = torch.cat([torch.ones(6), torch.full((COUNT - 6,), 1e-12)])
    found = [newton(family, "mse", given) for given in (half, replace(pairs, weights=weights))]
    for descent in found:
        descent.system(at(family, theta, descent.pairs), 1)
    assert found[1].excess == pytest.approx(found[0].excess, rel=1e-4)


def test_parameters_without_an_effect_have_no_excess(many: Pairs) -> None:
    """Where all velocities are nothing, only the one number counts that the last row gives x_0."""
    even = replace(many, weights=torch.ones(len(many)), x1=many.x1 + 0.1 * many.x0.sin())
    still = replace(even, field=as_model_field(FunctionField(lambda t, x: 0 * x, CondOT())))
    family = Coefficients(euler_table(N))
    descent = newton(family, "mse", still)
    descent.system(at(family, family.start(), still), 1)
    residuals = still.x0 - still.x1
    error = residuals.square().mean()
    each, hessian = 2 * (residuals * still.x0).mean(1) / error, 2 * still.x0.square().mean() / error
    assert descent.excess == pytest.approx(float(each.square().mean() / hessian) / (2 * len(still)), rel=1e-6)


def split_case(count: int = 30) -> tuple[FreeTable, Pairs]:
    """A family of split columns on guided samples whose truth no such table reaches."""
    source = cross_source(guidance=2.0)
    return FreeTable(random_split_table(3, guidance=2.0)), source.pairs("train", count)


def test_the_last_row_of_split_columns_is_the_least_squares_one_on_both_answers() -> None:
    family, given = split_case()
    found = newton(family, "mse", given).evaluate(family.start())
    plain = family.table(family.start())
    # By NumPy, from the answers at the states that the earlier rows make.
    states, columns = [given.x0, *states_of_answers(plain, given.field, given.x0)], [given.x0]
    for i in range(3):
        columns += list(given.field.answers(plain.times[i], states[i], 2.0))
    design, target = torch.stack(columns).reshape(7, -1).T.numpy(), given.x1.reshape(-1).numpy()
    # At the noise, the answer without a condition is the mean of the data less x_0, so that the row itself is not unique.
    row = np.linalg.lstsq(design, target, rcond=None)[0]
    np.testing.assert_allclose(design @ found.table.rows[-1].numpy(), design @ row, rtol=0, atol=1e-5)
    assert float(found.errors.sum() * 2) == pytest.approx(((design @ row - target) ** 2).sum(), rel=1e-8)
    torch.testing.assert_close(found.table.rows[:-1], plain.rows[:-1])
    np.testing.assert_allclose(family.table(found.theta).rows[-1].numpy(), found.table.rows[-1].numpy(), rtol=1e-12)


@pytest.mark.parametrize("derivative", ["backward", "forward", "difference"])
def test_the_system_of_split_columns_is_that_of_their_residuals(derivative: Derivative) -> None:
    """Two residuals a sample are never sketched, so that the matrix is exact; by differences of the equation's states."""
    family, given = split_case(10)
    theta = somewhere(family)

    def residuals(at: Tensor) -> Tensor:
        return states_of_answers(family.table(at), given.field, given.x0)[-1] - given.x1

    descent = newton(family, "mse", given, derivative=derivative, precision=torch.float64)
    gradient, curvature = descent.system(at(family, theta, given), 0)
    step = 1e-6 * torch.eye(len(theta), dtype=torch.float64)
    jacobian = torch.stack([(residuals(theta + h) - residuals(theta - h)) / 2e-6 for h in step], dim=-1).flatten(0, 1)
    here = residuals(theta).flatten()
    # W = w_s / sum w_s e_s of the plain objective, alike for all samples.
    weight = 1.0 / float((here**2).sum() / 2)
    torch.testing.assert_close(gradient, weight * jacobian.T @ here / 2, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(curvature, weight * jacobian.T @ jacobian / 2, rtol=1e-4, atol=1e-6)
