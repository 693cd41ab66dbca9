from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from bnsbench.errors import NotApplicableError, UsageError
from bnsbench.training.families.parametrisation import FreeTable
from bnsbench.training.objectives import OBJECTIVES, SMALLEST_ERROR, Objective, count_features, make_objective
from bnsbench.training.optimisers.adam import objective_loss
from bnsbench.training.optimisers.forward_derivatives import Derivative
from bnsbench.training.optimisers.gauss_newton import GaussNewton, Iterate
from bnsbench.training.optimisers.rollout import run
from bnsbench.training.optimisers.selection import IterateSelection
from bnsbench.training.optimisers.soft_teacher import soften
from bnsbench.training.problem import Cost, Problem
from bnsbench.truth.pairs import Pairs, PairSource
from tests.flows.toy import GaussianModel
from tests.training.toys import cross_source, plain_states, random_table


def images(count: int = 4) -> Pairs:
    """Pairs of a model with one channel of 1 x 3 pixels, with their trajectories."""
    model = GaussianModel()
    pairs = PairSource(model, "gaussian", tolerance=1e-9).trajectories("train", count)
    return replace(pairs, x0=pairs.x0[:, None, None], x1=pairs.x1[:, None, None])


def features(x: Tensor) -> Tensor:
    """Two features of every sample, [n, 1, 2], so that they have to be flattened."""
    assert x.shape[1:] == (1, 1, 3)
    return torch.stack([x.sum((1, 2, 3)).sin(), x.square().sum((1, 2, 3))], dim=-1)[:, None]


def seen(count: int, steps: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """States [steps, N, 3] and times [steps, N] that a solver may have reached."""
    generator = torch.Generator().manual_seed(2)
    states = torch.randn(steps, count, 3, generator=generator, dtype=torch.float64)
    times = torch.linspace(0, 1, steps + 1, dtype=torch.float64)[1:, None].expand(-1, count)
    return states.to(dtype), times


ERRORS = torch.tensor([0.3, 2.0, 1e-4, 0.05], dtype=torch.float64)
WEIGHTS = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)


def test_a_log_objective_is_the_weighted_mean_of_logs_and_the_others_the_log_of_the_mean() -> None:
    for name in OBJECTIVES:
        objective = make_objective(name, features)
        logarithmic = name.startswith("log-")
        expected = (WEIGHTS * ERRORS.log()).sum() if logarithmic else (WEIGHTS * ERRORS).sum().log()
        assert objective.logarithmic == logarithmic
        torch.testing.assert_close(objective.loss(ERRORS, WEIGHTS), expected)


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("weights", [WEIGHTS, torch.full((4,), 0.25, dtype=torch.float64)], ids=["weighted", "even"])
def test_importance_is_the_derivative_of_the_loss(name: str, weights: Tensor) -> None:
    objective = make_objective(name, features)
    errors = ERRORS.clone().requires_grad_()
    (derivative,) = torch.autograd.grad(objective.loss(errors, weights), errors)
    torch.testing.assert_close(objective.importance(ERRORS, weights), derivative)


@pytest.mark.parametrize("floor", [0.0, 1e-3, 0.4, 10.0])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_floor_is_added_to_errors_in_logarithms_and_to_nothing_else(name: str, floor: float) -> None:
    """Loss by its formula, importance by the slope of that formula in every sample's error."""
    objective = make_objective(name, features)

    def loss(errors: np.ndarray) -> float:
        if objective.logarithmic:
            return float(np.dot(WEIGHTS.numpy(), np.log(errors + floor)))
        return float(np.log(np.dot(WEIGHTS.numpy(), errors)))

    assert float(objective.loss(ERRORS, WEIGHTS, floor)) == pytest.approx(loss(ERRORS.numpy()), abs=1e-12)
    found = objective.importance(ERRORS, WEIGHTS, floor)
    for s, error in enumerate(ERRORS.tolist()):
        h = 1e-3 * error * np.eye(len(ERRORS))[s]
        slope = (loss(ERRORS.numpy() + h) - loss(ERRORS.numpy() - h)) / (2e-3 * error)
        assert float(found[s]) == pytest.approx(slope, rel=1e-6)


def test_a_high_floor_makes_the_mean_of_decibels_the_mean_squared_error() -> None:
    """log(e + f) = log f + e / f + .., so that far below the floor all errors weigh as they are."""
    logarithmic, plain = (make_objective(name, None).importance for name in ("log-mse", "mse"))
    found, wanted = logarithmic(ERRORS, WEIGHTS, 1e9), plain(ERRORS, WEIGHTS)
    torch.testing.assert_close(found / found.sum(), wanted / wanted.sum())


@pytest.mark.parametrize("name", ["mse", "log-mse"])
def test_an_exact_solver_has_a_finite_loss(name: str) -> None:
    objective = make_objective(name, None)
    none = torch.zeros(4, dtype=torch.float64)
    torch.testing.assert_close(objective.loss(none, WEIGHTS), torch.tensor(SMALLEST_ERROR, dtype=torch.float64).log())
    assert objective.importance(none, WEIGHTS).isfinite().all()


@pytest.mark.parametrize("name", ["mse", "log-mse", "soft-mse", "soft-log-mse"])
def test_end_residuals_are_the_distance_of_the_last_state_from_the_truth(name: str) -> None:
    objective, pairs = make_objective(name, None), images()
    states, times = seen(4, 3)
    residuals = objective.residuals(pairs, states, times)
    torch.testing.assert_close(residuals, states[2] - pairs.x1.reshape(4, 3))
    expected = torch.stack([((states[2, s] - pairs.x1[s].flatten()) ** 2).sum() / 3 for s in range(4)])
    torch.testing.assert_close(objective.errors(pairs, states, times), expected)
    torch.testing.assert_close(objective.errors(pairs, states[-1:], times[-1:]), expected)
    assert objective.exact_end
    assert not objective.whole


@pytest.mark.parametrize("name", ["features", "log-features", "soft-features"])
def test_feature_residuals_are_distances_of_features(name: str) -> None:
    objective, pairs = make_objective(name, features), images()
    states, times = seen(4, 1)
    end, truth = states[-1], pairs.x1.reshape(4, 3)
    expected = torch.stack([end.sum(1).sin() - truth.sum(1).sin(), (end**2).sum(1) - (truth**2).sum(1)], dim=1)
    torch.testing.assert_close(objective.residuals(pairs, states, times), expected)
    torch.testing.assert_close(objective.errors(pairs, states, times), expected.square().sum(1) / 2)
    assert not objective.exact_end
    assert not objective.whole


def test_features_of_the_truth_are_computed_once_for_each_of_a_few_sets() -> None:
    calls: list[int] = []

    def counted(x: Tensor) -> Tensor:
        calls.append(len(x))
        return features(x)

    objective, train = make_objective("features", counted), images(4)
    validation = train.part(slice(2))
    for pairs in (train, validation, train, validation):
        found = objective.residuals(pairs, *seen(len(pairs), 1))
        expected = features(seen(len(pairs), 1)[0].reshape(pairs.x1.shape)) - features(pairs.x1)
        torch.testing.assert_close(found, expected.flatten(1))
    assert calls == [4, 4, 2, 2, 4, 2]
    turned = train.part(torch.arange(3, -1, -1))
    many = [turned, *(images(1 + k % 3) for k in range(5))]
    for pairs in [*many, *many]:
        found = objective.residuals(pairs, *seen(len(pairs), 1))
        expected = features(seen(len(pairs), 1)[0].reshape(pairs.x1.shape)) - features(pairs.x1)
        torch.testing.assert_close(found, expected.flatten(1))


def test_features_cost_three_times_as_much_where_they_are_differentiated() -> None:
    """Every sample once forwards, and twice on the way back."""
    cost = Cost()
    counted = count_features(features, cost)
    assert counted is not None
    assert count_features(None, cost) is None
    x = images(4).x1
    for grad, enabled, each in ((False, True, 1), (False, False, 1), (True, False, 1), (True, True, 3)):
        before = cost.features
        with torch.set_grad_enabled(enabled):
            assert torch.equal(counted(x.clone().requires_grad_(grad)).detach(), features(x))
        assert cost.features - before == each * 4


def test_features_are_differentiated_in_the_state_alone() -> None:
    objective, pairs = make_objective("log-features", features), images()
    states, times = seen(4, 1)
    states.requires_grad_()
    residuals = objective.residuals(replace(pairs, x1=pairs.x1.clone().requires_grad_()), states, times)
    (slope,) = torch.autograd.grad(residuals[:, 1].sum(), states)
    torch.testing.assert_close(slope, 2 * states.detach())


@pytest.mark.parametrize("name", ["trajectory", "log-trajectory"])
def test_trajectory_residuals_look_at_every_state_at_its_time(name: str) -> None:
    objective, pairs = make_objective(name, None), images()
    model, x0 = GaussianModel(), pairs.x0.reshape(4, 3)
    states, times = seen(4, 5)
    expected = [state - model.flow(x0, torch.arange(4) % 3, end=float(t[0])) for state, t in zip(states, times, strict=True)]
    residuals = objective.residuals(pairs, states, times)
    torch.testing.assert_close(residuals, torch.cat(expected, dim=1), rtol=0, atol=1e-6)
    errors = torch.stack([(step**2).mean(1) for step in expected]).mean(0)
    torch.testing.assert_close(objective.errors(pairs, states, times), errors, rtol=0, atol=1e-5)
    assert objective.whole
    assert not objective.exact_end


def test_trajectory_residuals_move_with_the_times_as_the_truth_does() -> None:
    objective, pairs = make_objective("trajectory", None), images()
    states, _ = seen(4, 2)
    moments = torch.tensor([[0.3, 0.5, 0.7, 0.11], [1.0, 1.0, 1.0, 1.0]], dtype=torch.float64, requires_grad=True)
    weights = torch.randn(4, 6, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    (slope,) = torch.autograd.grad((objective.residuals(pairs, states, moments) * weights).sum(), moments)
    assert pairs.trajectory is not None
    truth = [pairs.trajectory.along(t).flatten(1) for t in moments.detach()]
    velocities = [pairs.field(t, x) for t, x in zip(moments.detach(), truth, strict=True)]
    expected = torch.stack([-(weights[:, 3 * i : 3 * i + 3] * velocities[i]).sum(1) for i in range(2)])
    torch.testing.assert_close(slope, expected, rtol=0, atol=1e-4)


class Watching(Objective):
    """The plain error, which notes what it is shown."""

    def __init__(self, whole: bool) -> None:
        super().__init__("soft-mse", logarithmic=False)
        self.whole = whole
        self.shown: list[tuple[Tensor, Tensor]] = []

    def residuals(self, pairs: Pairs, states: Tensor, times: Tensor) -> Tensor:
        self.shown.append((states.detach(), times.detach()))
        return states[-1] - pairs.x1 + 0 * times[-1, :, None]


FAMILY = FreeTable(random_table(3))


def by_adam(objective: Objective, pairs: Pairs) -> None:
    objective_loss(FAMILY, objective)(FAMILY.start(), pairs)


def by_selection(objective: Objective, pairs: Pairs) -> None:
    selection = IterateSelection(Problem(cross_source()), objective, pairs, 3, Cost(), 1)
    selection.check(FAMILY.table(FAMILY.start()), "test", 0, 1)


def by_soft_teacher(objective: Objective, pairs: Pairs) -> None:
    soften(FAMILY.table(FAMILY.start()), objective, pairs, pairs.x0, 0.1)


def by_gauss_newton(objective: Objective, pairs: Pairs, derivative: Derivative) -> None:
    table = FAMILY.table(FAMILY.start())
    iterate = Iterate(FAMILY.start(), table, run(table, pairs.field, pairs.x0), torch.ones(len(pairs)), 0.0)
    GaussNewton(FAMILY, objective, pairs, Cost(), derivative=derivative, precision=torch.float64).system(iterate, 1)


@pytest.mark.parametrize(
    "showing",
    [
        by_adam,
        by_selection,
        by_soft_teacher,
        partial(by_gauss_newton, derivative="backward"),
        partial(by_gauss_newton, derivative="forward"),
        partial(by_gauss_newton, derivative="difference"),
    ],
    ids=["adam", "selection", "soft teacher", "backward", "forward", "difference"],
)
@pytest.mark.parametrize("whole", [False, True], ids=["end", "whole"])
def test_every_optimiser_shows_an_objective_the_states_and_times_that_it_looks_at(
    showing: Callable[[Objective, Pairs], None], whole: bool
) -> None:
    pairs = cross_source().pairs("train", 5)
    objective, table = Watching(whole), FAMILY.table(FAMILY.start())
    showing(objective, pairs)
    states = torch.stack(plain_states(table, pairs.field, pairs.x0))
    times = table.times[1:, None].expand(3, 5)
    for found_states, found_times in objective.shown:
        torch.testing.assert_close(found_states, states if whole else states[-1:])
        torch.testing.assert_close(found_times, times if whole else times[-1:])
    assert objective.shown


@pytest.mark.parametrize("name", OBJECTIVES)
def test_errors_are_float64_whatever_the_states_are(name: str) -> None:
    objective, pairs = make_objective(name, features), images()
    states, times = seen(4, 2)
    narrow = replace(pairs, x0=pairs.x0.float(), x1=pairs.x1.float())
    found = objective.errors(narrow, states.float(), times)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, objective.errors(pairs, states, times), rtol=1e-4, atol=0)


@pytest.mark.parametrize("name", ["psnr", "log-", "", "soft-", "log-soft-mse", "soft-soft-mse", "MSE"])
def test_an_unknown_objective_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=f"no objective '{name}'; choose from log-mse, mse, features"):
        make_objective(name, features)


@pytest.mark.parametrize("name", ["features", "log-features", "soft-features"])
def test_features_that_a_model_lacks_are_missed(name: str) -> None:
    with pytest.raises(NotApplicableError, match=f"'{name}' needs a feature extractor, and this model has none"):
        make_objective(name, None)


def test_trajectories_that_pairs_lack_are_missed() -> None:
    pairs = replace(images(), trajectory=None)
    with pytest.raises(NotApplicableError, match="needs pairs with their ground-truth trajectories"):
        make_objective("trajectory", None).residuals(pairs, *seen(4, 2))


def test_names_are_kept_as_users_write_them() -> None:
    for name in OBJECTIVES:
        assert make_objective(name, features).name == name
        assert make_objective(f"soft-{name}", features).name == f"soft-{name}"
        assert make_objective(f"soft-{name}", features).logarithmic == make_objective(name, features).logarithmic
