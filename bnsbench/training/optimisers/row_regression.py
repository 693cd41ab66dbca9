"""Rows by weighted least squares: the exact last row, and the rows that follow a trajectory.

For fixed times and earlier rows, a row is linear: x_{i+1} = Phi theta with Phi = [x_0, u_0, .., u_i]. Minimising the mean
of log (MSE + f) is the same least-squares problem with the sample weights w_s / (MSE_s + f), found by iteration.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bnsbench.training.floor import floor_under
from bnsbench.training.objectives import Objective


class RowRegression:
    """The regression of a target on a basis, prepared once as N Gram matrices in float64.

    Args:
        basis: [m, N, d], of N samples with d numbers.
        target: [N, d].
        weights: of the samples [N], summing to one.
    """

    def __init__(self, basis: Tensor, target: Tensor, weights: Tensor) -> None:
        self.weights = weights
        joined = torch.cat([basis, target[None].to(basis)]).double().transpose(0, 1)
        self.size = len(basis)
        # Columns of unit mean square, so that neither times nor velocities are lost beside the other in a Gram matrix.
        self.scale = joined.square().mean((0, 2)).sqrt().clamp_min(1e-150)
        joined = joined / self.scale[:, None]
        self.gram = (joined @ joined.transpose(1, 2) / joined.shape[2]).cpu()

    def solve(self, objective: Objective, passes: int, ridge: float, floor: float = 0.0, share: float = 0.0) -> Tensor:
        """Return the row [m] that minimises the objective.

        Args:
            objective: on x_n - x_1, logarithmic or not.
            passes: solves at most, the first by plain weights; an objective that is not logarithmic needs one.
            ridge: added to the normal equations, relative to columns of unit norm.
            floor: of the objective, an error.
            share: of the median error that the row leaves, which is the floor where it is higher.
        """
        weights = self.weights
        row = torch.zeros(self.size, dtype=torch.float64)
        for _ in range(passes if objective.logarithmic else 1):
            row = self._weighted(weights, ridge)
            # d loss / d e_s of the errors that this row leaves: each sample's weight in the next pass.
            errors = self._errors(row)
            weights = objective.importance(errors, self.weights, max(floor, floor_under(share, errors)))
        scale = self.scale.cpu()
        return torch.mul(row, scale[-1] / scale[:-1])

    def _weighted(self, weights: Tensor, ridge: float) -> Tensor:
        """Return the row that minimises the weighted sum of squared errors."""
        # The normal equations Phi^T W Phi row = Phi^T W target.
        total = torch.einsum("s,sij->ij", weights / weights.sum(), self.gram)
        left, right = total[:-1, :-1], total[:-1, -1]
        # Columns of unit norm; the ridge is relative to them.
        norm = left.diagonal().sqrt().clamp_min(1e-150)
        left = left / norm / norm[:, None] + ridge * torch.eye(self.size, dtype=torch.float64)
        solution: Tensor = torch.linalg.solve(left, right / norm)
        return solution / norm

    def _errors(self, row: Tensor) -> Tensor:
        """Return the mean squared errors [N] that a row of scaled columns leaves, from the Gram matrices alone.

        They are told in the target's own units, as a floor is.
        """
        residual = torch.cat([row, row.new_tensor([-1.0])]) * self.scale[-1].cpu()
        return torch.einsum("i,sij,j->s", residual, self.gram, residual)
