"""What the parts of a training cost, in evaluations of the field times samples, before they are done.

A backward pass through an evaluation counts as two. The steps of the descent are counted as they come; how many of them a
training takes is another matter (`bnsbench.training.recipes.forecast`).
"""

from __future__ import annotations

import math

import torch

from bnsbench.training.optimisers.forward_derivatives import Derivative, evaluations_per_direction
from bnsbench.training.optimisers.gauss_newton import ONE_BY_ONE, GaussNewton


def numbers_of(nfe: int) -> int:
    """Return how many numbers a free table has to choose: times and rows."""
    return nfe * (nfe + 5) // 2 - 1


def sketches_of(parameters: int, pairs: int, residuals: float) -> int:
    """Return how many sketches a step takes of a Jacobian, or one for each of so few residuals of a sample."""
    sketches = max(1, math.ceil(GaussNewton.rows_per_parameter * parameters / pairs))
    return int(residuals) if residuals <= max(sketches, ONE_BY_ONE) else sketches


def step(
    nfe: int,
    parameters: int,
    pairs: int,
    *,
    residuals: float = math.inf,
    derivative: Derivative = "backward",
    precision: torch.dtype = torch.float32,
) -> int:
    """Return what a step of Gauss-Newton costs, its first trial included.

    Args:
        nfe: of the table.
        parameters: that are free.
        pairs: that it is taken on.
        residuals: of a sample.
        derivative: how the network is differentiated.
        precision: in which it computes.
    """
    trial = nfe * pairs
    if derivative == "backward":
        return (nfe - 1) * pairs * (3 + 2 * sketches_of(parameters, pairs, residuals)) + trial
    # Every evaluation but the first in every direction, at most.
    return (nfe - 1) * pairs * parameters * evaluations_per_direction(derivative, precision) + trial
