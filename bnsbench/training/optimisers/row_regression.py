"""Rows by weighted least squares: the greedy start on ground-truth trajectories and the exact last row.

For fixed times and earlier rows, a row is linear: x_{i+1} = Phi theta with Phi = [x_0, u_0, .., u_i]. Minimising the mean
of log MSE is the same least-squares problem with the sample weights w_s / MSE_s, found by iteration.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bnsbench.training.families.table import Table
from bnsbench.training.objectives import EndError, Objective
from bnsbench.truth.pairs import Pairs

LOG_MSE = EndError("log-mse", logarithmic=True)


class RowRegression:
    """The regression of a target [N, d] on a basis [m, N, d], prepared once as N Gram matrices in float64.

    weights: of the samples [N], summing to one.
    """

    def __init__(self, basis: Tensor, target: Tensor, weights: Tensor) -> None:
        self.weights = weights
        joined = torch.cat([basis, target[None].to(basis)]).double().transpose(0, 1)
        self.size = len(basis)
        self.scale = joined.square().mean((0, 2)).sqrt().clamp_min(1e-150)
        joined = joined / self.scale[:, None]
        self.gram = (joined @ joined.transpose(1, 2) / joined.shape[2]).cpu()

    def solve(self, objective: Objective, passes: int, ridge: float) -> Tensor:
        """Return the row [m] that minimises the objective, after at most ``passes`` solves, the first by plain weights."""
        weights = self.weights
        row = torch.zeros(self.size, dtype=torch.float64)
        for _ in range(passes if objective.logarithmic else 1):
            row = self._weighted(weights, ridge)
            weights = objective.importance(self._errors(row), self.weights)
        scale = self.scale.cpu()
        return torch.mul(row, scale[-1] / scale[:-1])

    def _weighted(self, weights: Tensor, ridge: float) -> Tensor:
        total = torch.einsum("s,sij->ij", weights / weights.sum(), self.gram)
        left, right = total[:-1, :-1], total[:-1, -1]
        # Columns of unit norm; the ridge is relative to them.
        norm = left.diagonal().sqrt().clamp_min(1e-150)
        left = left / norm / norm[:, None] + ridge * torch.eye(self.size, dtype=torch.float64)
        solution: Tensor = torch.linalg.solve(left, right / norm)
        return solution / norm

    def _errors(self, row: Tensor) -> Tensor:
        residual = torch.cat([row, row.new_tensor([-1.0])])
        return torch.einsum("i,sij,j->s", residual, self.gram, residual)


def greedy_table(times: Tensor, pairs: Pairs) -> Table:
    """Return the table on ``times`` [n + 1] whose rows, one after the other, regress the true trajectory's next state."""
    if pairs.trajectory is None:
        raise ValueError("greedy_table needs pairs with their trajectories")
    n, x0 = len(times) - 1, pairs.x0
    rows = torch.zeros(n, n + 1, dtype=torch.float64)
    flat = x0.flatten(1)
    basis = flat.new_empty(n + 1, *flat.shape)
    basis[0] = x = flat
    weights = pairs.sample_weights()
    with torch.no_grad():
        for i in range(n):
            basis[i + 1] = pairs.field(times[i].to(flat.device), x.reshape(x0.shape)).flatten(1)
            last = i == n - 1
            target = pairs.x1 if last else pairs.trajectory.at(float(times[i + 1]))
            regression = RowRegression(basis[: i + 2], target.flatten(1), weights)
            rows[i, : i + 2] = regression.solve(LOG_MSE, 8 if last else 2, 1e-12 if last else 1e-11)
            x = torch.tensordot(rows[i, : i + 2].to(flat), basis[: i + 2], dims=1)
    return Table(times, rows)
