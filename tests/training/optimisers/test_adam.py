from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bnsbench.training.families.classic_rules import Anchored, Decoupled, RuleTimes
from bnsbench.training.families.parametrisation import FreeTable, LinearMultistep, Parametrisation
from bnsbench.training.objectives import make_objective
from bnsbench.training.optimisers.adam import Adam, AdamSettings, Loss, differentiable_table, objective_loss
from bnsbench.training.optimisers.checkpoint import Checkpoint
from bnsbench.training.optimisers.selection import IterateSelection
from bnsbench.training.problem import Cost, Problem, TrainingStatus
from bnsbench.training.tuning.classics import rule_on_grid
from bnsbench.truth.pairs import Pairs
from tests.training.toys import cross_source, euler_table, plain_states, smooth_features, uniform

N = 3
PHI = smooth_features()
SOURCE = cross_source()
RULE, _ = rule_on_grid(Problem(SOURCE), N, "unipc")
FAMILIES: dict[str, Parametrisation] = {
    "free": FreeTable(euler_table(N)),
    "rule-times": RuleTimes(RULE, uniform(N)),
    "anchored": Anchored(RULE, uniform(N)),
    "decoupled": Decoupled(RuleTimes(RULE, uniform(N)), SOURCE.model.path, SOURCE.model.prediction),
}


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    weights = torch.rand(48, generator=torch.Generator().manual_seed(1)) + 0.1
    return replace(SOURCE.trajectories("train", 48), weights=weights)


@pytest.fixture(scope="module")
def validation() -> Pairs:
    return SOURCE.pairs("validation", 32)


def descent(
    family: Parametrisation,
    pairs: Pairs,
    validation: Pairs,
    *,
    loss: Loss | None = None,
    problem: Problem | None = None,
    **settings,
) -> Adam:
    objective = make_objective("log-mse", None)
    chosen = AdamSettings(**{"iterations": 60, "batch": 16, "rate": 1e-2, "check_every": 20, **settings})
    selection = IterateSelection(problem or Problem(SOURCE), objective, validation, N, Cost(), chosen.iterations)
    return Adam(family, loss or objective_loss(family, objective), pairs, selection, chosen, seed=0, evaluations=3 * N)


def plain_loss(name: str, family: Parametrisation, theta: Tensor, pairs: Pairs) -> Tensor:
    table = family.table(theta)
    states = plain_states(table, pairs.field, pairs.x0)
    if name.endswith("features"):
        residuals = PHI(states[-1]) - PHI(pairs.x1)
    elif name.endswith("trajectory"):
        assert pairs.trajectory is not None
        truth = [pairs.trajectory.at(float(t)) for t in table.times[1:]]
        residuals = torch.cat([x - y for x, y in zip(states, truth, strict=True)], dim=1)
    else:
        residuals = states[-1] - pairs.x1
    assert pairs.weights is not None
    errors, weights = residuals.square().mean(1), pairs.weights.double() / pairs.weights.double().sum()
    return (weights * errors.log()).sum() if name.startswith("log-") else (weights * errors).sum().log()


@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("name", ["log-mse", "features", "log-trajectory"])
def test_loss_and_gradient_are_the_objective_s_also_for_families_that_are_no_torch_code(
    pairs: Pairs, kind: str, name: str
) -> None:
    family = FAMILIES[kind]
    assert family.differentiable == (kind == "free")
    start = family.start()
    theta = start + 0.05 * torch.randn(start.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    for checkpointed in (False, True):
        loss = objective_loss(family, make_objective(name, PHI), checkpointed)
        point = theta.clone().requires_grad_()
        value = loss(point, pairs)
        torch.testing.assert_close(value, plain_loss(name, family, theta, pairs))
        value.backward()
        for k in range(len(theta)):
            h = 1e-5 * torch.eye(len(theta), dtype=torch.float64)[k]
            ahead, behind = (float(plain_loss(name, family, theta + sign * h, pairs)) for sign in (1, -1))
            assert point.grad is not None
            assert float(point.grad[k]) == pytest.approx((ahead - behind) / 2e-5, rel=1e-4, abs=1e-4)


def test_a_table_through_its_jacobian_is_the_family_s_own() -> None:
    family = FAMILIES["anchored"]
    theta = family.start() + 0.01
    found, own = differentiable_table(family, theta.requires_grad_()), family.table(theta.detach())
    assert torch.equal(found.times, own.times)
    assert torch.equal(found.rows, own.rows)
    assert found.rows.requires_grad


@pytest.mark.parametrize("kind", FAMILIES)
def test_adam_descends(pairs: Pairs, validation: Pairs, kind: str) -> None:
    family = FAMILIES[kind]
    adam = descent(family, pairs, validation, iterations=24, check_every=8, rate=3e-2)
    adam.minimise(Checkpoint(None))
    ahead, behind = (float(plain_loss("log-mse", family, theta, pairs)) for theta in (adam.theta.detach(), family.start()))
    assert ahead < behind - 0.1
    curve = adam.selection.curve.points
    assert [point["iteration"] for point in curve] == [0, 8, 16, 24]
    assert curve[-1]["loss"] < curve[0]["loss"] - 0.1
    assert adam.selection.cost.training == 24 * 16 * 3 * N


def test_every_pair_is_seen_once_before_any_is_seen_again(pairs: Pairs, validation: Pairs) -> None:
    seen: list[list[float]] = []

    def watching(theta: Tensor, batch: Pairs) -> Tensor:
        seen.append(batch.x0[:, 0].tolist())
        return theta.sum()

    adam = descent(FAMILIES["free"], pairs, validation, loss=watching, iterations=6)
    adam.minimise(Checkpoint(None))
    everything = sorted(pairs.x0[:, 0].tolist())
    first, second = (sorted(x for batch in part for x in batch) for part in (seen[:3], seen[3:]))
    assert first == second == everything
    assert seen[0] != seen[3]


def test_the_first_step_is_the_rate_and_the_last_next_to_nothing(pairs: Pairs, validation: Pairs) -> None:
    adam = descent(FAMILIES["free"], pairs, validation, loss=lambda theta, _: theta.sum(), iterations=50, rate=0.3)
    moves = []
    for _ in range(50):
        before = adam.theta.detach().clone()
        adam.step()
        moves.append(float((adam.theta.detach() - before).abs().max()))
    assert moves[0] == pytest.approx(0.3, rel=1e-6)  # Adam's first step has the rate's size whatever the gradient's
    assert moves[25] == pytest.approx(0.15, rel=0.01)
    assert moves[-1] < 1e-3


def test_gradients_that_are_not_finite_move_nothing(pairs: Pairs, validation: Pairs) -> None:
    adam = descent(FAMILIES["free"], pairs, validation, loss=lambda theta, _: (theta * torch.inf).sum())
    adam.step()
    assert torch.equal(adam.theta.detach(), adam.family.start())
    assert adam.iteration == 1


@pytest.mark.parametrize("kind", ["free", "rule-times"])
def test_an_interrupted_descent_goes_on_to_the_same_end_bit_for_bit(
    pairs: Pairs, validation: Pairs, kind: str, tmp_path: Path
) -> None:
    family = FAMILIES[kind]
    steps: dict[str, Any] = {"iterations": 12, "check_every": 4}
    whole = descent(family, pairs, validation, **steps)
    whole.minimise(Checkpoint(None))
    for stop in (0, 4, 8, 12):

        def interrupt(status: TrainingStatus, stop: int = stop) -> None:
            if status.iteration == stop:
                raise KeyboardInterrupt

        kept = Checkpoint(tmp_path / f"{stop}.pt")
        with pytest.raises(KeyboardInterrupt):
            descent(family, pairs, validation, problem=Problem(SOURCE, progress=interrupt), **steps).minimise(kept)
        told: list[TrainingStatus] = []
        resumed = descent(family, pairs, validation, problem=Problem(SOURCE, progress=told.append), **steps)
        resumed.minimise(kept)
        saved = max(0, stop - 4)  # at the check before
        assert [status.iteration for status in told] == [k for k in (0, 4, 8, 12) if k > saved or saved == 0]
        assert torch.equal(resumed.theta, whole.theta)
        assert torch.equal(resumed.selection.result().rows, whole.selection.result().rows)
        assert resumed.selection.curve.points == whole.selection.curve.points
        assert resumed.selection.cost == whole.selection.cost


def test_multistep_weights_are_found_by_adam_too(pairs: Pairs, validation: Pairs) -> None:
    family = LinearMultistep(uniform(N))
    adam = descent(family, pairs, validation, iterations=80)
    adam.minimise(Checkpoint(None))
    torch.testing.assert_close(adam.selection.result().rows[:, 0], torch.ones(N, dtype=torch.float64))
    assert adam.selection.best_psnr > adam.selection.curve.points[0]["psnr"] + 3
