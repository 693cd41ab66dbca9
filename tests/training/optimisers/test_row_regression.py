from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor

from bnsbench.training.objectives import LOG_MSE, EndError
from bnsbench.training.optimisers import row_regression
from bnsbench.training.optimisers.row_regression import RowRegression

MSE = EndError("mse", logarithmic=False)
SCALES = torch.tensor([1.0, 50.0, 1e-3], dtype=torch.float64)
"""Of the columns, which differ as times and velocities may."""


def regression(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """A basis [3, 20, 5], a target that it does not span and weights."""
    generator = torch.Generator().manual_seed(seed)
    basis = torch.randn(3, 20, 5, generator=generator, dtype=torch.float64) * SCALES[:, None, None]
    target = torch.randn(20, 5, generator=generator, dtype=torch.float64)
    weights = torch.rand(20, generator=generator, dtype=torch.float64) + 0.05
    return basis, target + basis[0] * 2, weights / weights.sum()


def solved_by_lstsq(basis: Tensor, target: Tensor, weights: Tensor) -> np.ndarray:
    root = weights.sqrt()[:, None]
    return np.linalg.lstsq((root * basis).reshape(3, -1).T.numpy(), (root * target).reshape(-1).numpy(), rcond=None)[0]


def test_a_plain_objective_is_minimised_by_weighted_least_squares() -> None:
    basis, target, weights = regression()
    for passes in (1, 5):
        row = RowRegression(basis, target, weights).solve(MSE, passes, 0.0)
        np.testing.assert_allclose(row.numpy(), solved_by_lstsq(basis, target, weights), rtol=1e-9)
    assert not np.allclose(row.numpy(), solved_by_lstsq(basis, target, torch.ones(20).double() / 20), rtol=1e-3)


def test_the_first_pass_for_logarithms_is_weighted_least_squares() -> None:
    basis, target, weights = regression()
    row = RowRegression(basis, target, weights).solve(LOG_MSE, 1, 0.0)
    np.testing.assert_allclose(row.numpy(), solved_by_lstsq(basis, target, weights), rtol=1e-9)


@pytest.mark.parametrize("ridge", [1e-3, 0.3, 4.0])
def test_a_ridge_pulls_every_column_s_part_to_nothing_alike(ridge: float) -> None:
    """Least squares with a row more for every column, of a part of the column's own weighted root mean square."""
    basis, target, weights = regression()
    root, dim = weights.sqrt()[:, None], basis.shape[2] ** 0.5
    columns = (root * basis / dim).reshape(3, -1).T.numpy()
    left = np.concatenate([columns, ridge**0.5 * np.diag(np.linalg.norm(columns, axis=0))])
    right = np.concatenate([(root * target / dim).reshape(-1).numpy(), np.zeros(3)])
    row = RowRegression(basis, target, weights).solve(MSE, 1, ridge)
    np.testing.assert_allclose(row.numpy(), np.linalg.lstsq(left, right, rcond=None)[0], rtol=1e-9)


@pytest.mark.parametrize("objective", [LOG_MSE, MSE], ids=lambda objective: objective.name)
def test_no_search_finds_a_better_row(objective: EndError) -> None:
    basis, target, weights = regression()

    def loss(scaled: np.ndarray) -> float:
        error = (np.einsum("i,isd->sd", scaled / SCALES.numpy(), basis.numpy()) - target.numpy()) ** 2
        errors, counts = error.mean(1), weights.numpy()
        return float((counts * np.log(errors)).sum() if objective is LOG_MSE else (counts * errors).sum())

    row = (RowRegression(basis, target, weights).solve(objective, 300, 0.0) * SCALES).numpy()
    best = minimize(loss, row + 0.05, method="Nelder-Mead", options={"xatol": 1e-10, "fatol": 1e-13})
    assert loss(row) == pytest.approx(best.fun, abs=1e-8)
    np.testing.assert_allclose(row, best.x, atol=1e-4)
    few = (RowRegression(basis, target, weights).solve(objective, 1, 0.0) * SCALES).numpy()
    assert loss(few) > loss(row) + 1e-3 if objective is LOG_MSE else loss(few) == loss(row)


def test_an_exact_row_is_found_and_equal_columns_do_no_harm() -> None:
    basis, _, weights = regression()
    row = RowRegression(basis, 3 * basis[0] - basis[1], weights).solve(LOG_MSE, 4, 1e-12)
    torch.testing.assert_close(row[:2], torch.tensor([3.0, -1.0], dtype=torch.float64), rtol=1e-6, atol=1e-6)
    twice = torch.cat([basis, basis[:1]])
    row = RowRegression(twice, basis[0], weights).solve(LOG_MSE, 2, 1e-11)
    assert torch.isfinite(row).all()
    assert row[0] + row[3] == pytest.approx(1.0, abs=1e-6)


def test_empty_columns_get_nothing() -> None:
    basis, target, weights = regression()
    basis[1] = 0.0
    row = RowRegression(basis, target, weights).solve(LOG_MSE, 3, 1e-12)
    assert row[1] == 0
    alone = RowRegression(basis[[0, 2]], target, weights).solve(LOG_MSE, 3, 1e-12)
    torch.testing.assert_close(row[[0, 2]], alone)


def floored_loss(row: np.ndarray, basis: Tensor, target: Tensor, weights: Tensor, floor: float) -> float:
    errors = ((np.einsum("i,isd->sd", row, basis.numpy()) - target.numpy()) ** 2).mean(1)
    return float((weights.numpy() * np.log(errors + floor)).sum())


@pytest.mark.parametrize("unit", [1.0, 1e-3, 40.0])
@pytest.mark.parametrize("floor", [0.03, 1.0, 30.0])
def test_no_search_finds_a_better_row_under_a_floor(floor: float, unit: float) -> None:
    """The floor is an error, so that in other units of the target it is another number."""
    basis, target, weights = regression()
    target, floor = unit * target, unit**2 * floor
    scales = SCALES.numpy() / unit
    row = RowRegression(basis, target, weights).solve(LOG_MSE, 300, 0.0, floor).numpy() * scales

    def loss(scaled: np.ndarray) -> float:
        return floored_loss(scaled / scales, basis, target, weights, floor)

    best = minimize(loss, row + 0.05, method="Nelder-Mead", options={"xatol": 1e-10, "fatol": 1e-13})
    assert loss(row) == pytest.approx(best.fun, abs=1e-8)
    np.testing.assert_allclose(row, best.x, atol=1e-4)
    bare = RowRegression(basis, target, weights).solve(LOG_MSE, 300, 0.0).numpy() * scales
    assert loss(bare) > loss(row) + 1e-4


@pytest.mark.parametrize("share", [0.1, 1.0])
def test_a_share_of_the_median_error_is_the_floor_where_it_is_higher(share: float) -> None:
    """Once the passes have converged, the row is that under a floor of its own median error's share."""
    basis, target, weights = regression()
    regressed = RowRegression(basis, target, weights)
    row = regressed.solve(LOG_MSE, 400, 0.0, 0.0, share)
    errors = (torch.einsum("i,isd->sd", row, basis) - target).square().mean(1)
    floor = share * float(errors.median())
    torch.testing.assert_close(regressed.solve(LOG_MSE, 400, 0.0, floor), row, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(regressed.solve(LOG_MSE, 400, 0.0, 0.9 * floor, share), row, rtol=1e-6, atol=1e-9)
    higher = regressed.solve(LOG_MSE, 400, 0.0, 10 * floor)
    assert torch.equal(regressed.solve(LOG_MSE, 400, 0.0, 10 * floor, share), higher)
    assert not torch.allclose(higher, row, rtol=1e-3)


@pytest.mark.parametrize("samples", [0.5, 1, 7, 19.9])
def test_samples_held_in_parts_give_the_same_row(monkeypatch: pytest.MonkeyPatch, samples: float) -> None:
    basis, target, weights = regression()
    expected = RowRegression(basis, target, weights)
    monkeypatch.setattr(row_regression, "NUMBERS_HELD", int(samples * 4 * 5))
    found = RowRegression(basis.float(), target.float(), weights)
    assert found.gram.dtype == torch.float64
    torch.testing.assert_close(found.scale, expected.scale, rtol=1e-6, atol=0)
    torch.testing.assert_close(found.gram, expected.gram, rtol=1e-5, atol=1e-6)
    found = RowRegression(basis, target, weights)
    torch.testing.assert_close(found.solve(LOG_MSE, 6, 1e-12), expected.solve(LOG_MSE, 6, 1e-12), rtol=1e-9, atol=0)
