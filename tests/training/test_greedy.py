from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from bnsbench.flows.pairs import PairSource
from bnsbench.nonstationary.tracing import trace
from bnsbench.solvers.grids import time_grid
from bnsbench.solvers.runge_kutta import euler, midpoint
from bnsbench.training.greedy import RowRegression, greedy_table
from bnsbench.training.rollout import run
from bnsbench.training.selection import psnr
from bnsbench.training.table import Table
from tests.flows.toy import GaussianModel, SineField


def problem(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    basis = torch.randn(3, 20, 5, generator=generator, dtype=torch.float64) * torch.tensor([1.0, 50.0, 1e-3])[:, None, None]
    target = torch.randn(20, 5, generator=generator, dtype=torch.float64)
    return basis, target + basis[0] * 2


def test_one_pass_is_ordinary_least_squares() -> None:
    basis, target = problem()
    row = RowRegression(basis, target).solve(1, 0.0)
    expected = np.linalg.lstsq(basis.reshape(3, -1).T.numpy(), target.reshape(-1).numpy(), rcond=None)[0]
    np.testing.assert_allclose(row.numpy(), expected, rtol=1e-9)


def test_many_passes_minimise_the_mean_log_error() -> None:
    basis, target = problem()
    scales = torch.tensor([1.0, 50.0, 1e-3], dtype=torch.float64)

    def loss(scaled: np.ndarray) -> float:
        row = torch.from_numpy(scaled) / scales
        error = (torch.tensordot(row, basis, dims=1) - target).square().mean(1)
        return float(error.log().mean())

    row = RowRegression(basis, target).solve(200, 0.0)
    found = loss((row * scales).numpy())
    best = minimize(loss, (row * scales).numpy() + 0.05, method="Nelder-Mead", options={"xatol": 1e-10, "fatol": 1e-12})
    assert found == pytest.approx(best.fun, abs=1e-8)
    assert found < loss((RowRegression(basis, target).solve(1, 0.0) * scales).numpy())


def test_an_exact_row_is_found_and_equal_columns_do_no_harm() -> None:
    basis, _ = problem()
    row = RowRegression(basis, 3 * basis[0] - basis[1]).solve(4, 1e-12)
    torch.testing.assert_close(row[:2], torch.tensor([3.0, -1.0], dtype=torch.float64), rtol=1e-6, atol=1e-6)
    twice = torch.cat([basis, basis[:1]])
    row = RowRegression(twice, basis[0]).solve(2, 1e-11)
    assert torch.isfinite(row).all()
    assert row[0] + row[3] == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("n", [4, 8])
def test_the_greedy_table_beats_the_rules_on_its_grid(n: int) -> None:
    source = PairSource(GaussianModel(scale=0.3, dim=4), "gaussian", guidance=1.0, tolerance=1e-8)
    pairs, trajectory = source.trajectory("train")
    model = source.model
    times = time_grid("uniform", model.path, model.interval, n)
    found = psnr(greedy_table(times, pairs.field, pairs.x0, trajectory), pairs, 2.0)
    for rule in (euler, midpoint):
        table = Table.of(trace(lambda field, x0, rule=rule: rule(field, x0, n), model.path))
        assert found > psnr(table, pairs, 2.0) + 3


def test_the_first_rows_follow_the_trajectory() -> None:
    source = PairSource(GaussianModel(), "gaussian", tolerance=1e-8)
    pairs, trajectory = source.trajectory("train")
    times = torch.linspace(0, 1, 9, dtype=torch.float64)
    rollout = run(greedy_table(times, pairs.field, pairs.x0, trajectory), pairs.field, pairs.x0)
    for i in range(1, 8):
        assert (rollout.states[i] - trajectory.at(float(times[i]))).abs().max() < 0.05


def test_the_field_is_evaluated_once_per_row() -> None:
    calls = []

    class Counted(SineField):
        def __call__(self, t, x):
            calls.append(float(t))
            return super().__call__(t, x)

    _, trajectory = PairSource(GaussianModel(), "gaussian", tolerance=1e-6).trajectory("train")
    greedy_table(torch.linspace(0, 1, 5, dtype=torch.float64), Counted(), trajectory.x[0], trajectory)
    assert calls == [0.0, 0.25, 0.5, 0.75]
