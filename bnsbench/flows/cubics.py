"""The inverse of an increasing cubic, by which paths that are interpolated find the time of a noise level."""

from __future__ import annotations

import torch
from torch import Tensor

HALVINGS = 60
"""Steps at most, so many that halving the interval alone would end below float64's resolution."""
SETTLED = 2e-16
"""Change from one step to the next that counts as rounding."""


def root_in_unit(cubic: Tensor) -> Tensor:
    """Return the u in [0, 1] at which increasing cubics are 0, by Newton's method between bounds.

    Args:
        cubic: Coefficients [4, ...] of u^3, u^2, u and 1, in float64; negative at 0 or 0 there, positive at 1 or 0 there.

    Returns:
        The roots [...], to float64's rounding.
    """
    c = cubic.detach()
    low, high = torch.zeros_like(c[0]), torch.ones_like(c[0])
    u = 0.5 * (low + high)
    for _ in range(HALVINGS):
        value = ((c[0] * u + c[1]) * u + c[2]) * u + c[3]
        low, high = torch.where(value < 0, u, low), torch.where(value < 0, high, u)
        newton = u - value / ((3.0 * c[0] * u + 2.0 * c[1]) * u + c[2])
        # A root at an end may be missed by rounding; a step that goes further, or is not finite, becomes a halving.
        inside = (newton >= low - SETTLED) & (newton <= high + SETTLED)
        found = torch.where(inside, torch.maximum(torch.minimum(newton, high), low), 0.5 * (low + high))
        settled = bool(((found - u).abs() <= SETTLED).all())
        u = found
        if settled:
            break
    return u
