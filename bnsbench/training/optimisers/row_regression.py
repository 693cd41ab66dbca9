"""Rows by weighted least squares: the exact last row, and the rows that follow a trajectory.

For fixed times and earlier rows, a row is linear: x_{i+1} = Phi theta with Phi = [x_0, u_0, .., u_i]. Minimising the mean
of log (MSE + f) is the same least-squares problem with the sample weights w_s / (MSE_s + f), found by iteration.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bnsbench.training.floor import floor_under
from bnsbench.training.objectives import Objective

NUMBERS_HELD = 2**25
"""Numbers of basis and target that are held in float64 at once; the samples are taken in parts that keep to it."""


class RowRegression:
    """The regression of a target on a basis, prepared once as N Gram matrices in float64.

    Args:
        basis: [m, N, d], of N samples with d numbers.
        target: [N, d].
        weights: of the samples [N], summing to one.
    """

    def __init__(self, basis: Tensor, target: Tensor, weights: Tensor) -> None:
        self.weights = weights
        self.size = len(basis)
        samples, held = len(target), max(1, NUMBERS_HELD // (target.shape[1] * (len(basis) + 1)))
        parts = [slice(first, first + held) for first in range(0, samples, held)]
        whole = _joined(basis, target, parts[0]) if len(parts) == 1 else None

        def columns(part: slice) -> Tensor:
            return _joined(basis, target, part) if whole is None else whole

        # Columns of unit mean square, so that neither times nor velocities are lost beside the other in a Gram matrix.
        squares = [len(target[part]) / samples * columns(part).square().mean((0, 2)) for part in parts]
        self.scale = torch.stack(squares).sum(0).sqrt().clamp_min(1e-150)
        self.gram = torch.cat([_gram(columns(part) / self.scale[:, None]) for part in parts])

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


def _joined(basis: Tensor, target: Tensor, part: slice) -> Tensor:
    """Return basis and target of a part of the samples side by side [N, m + 1, d] in float64."""
    return torch.cat([basis[:, part], target[None, part].to(basis)]).double().transpose(0, 1)


def _gram(columns: Tensor) -> Tensor:
    """Return each sample's mean products of columns [N, m + 1, m + 1] on the CPU."""
    return (columns @ columns.transpose(1, 2) / columns.shape[2]).cpu()
