"""The floor under the errors of a logarithmic objective, which descents lower on the way.

Without one, the mean of log e_s has a cusp where a sample is hit exactly, and in one or two dimensions least squares
weighted by 1 / e_s hits one sooner or later: from there, no step lowers the loss. The floor is a part of the median error,
so that it falls with the errors, and descents of another scale are the same descents.
"""

from __future__ import annotations

import math

from torch import Tensor

BEGIN, DECAY = 1.0, 0.3
"""The share of the median error at the beginning, and by what it is multiplied at each iteration."""


def share_at(iteration: int, last: float) -> float:
    """Return the floor's share of the median error at an iteration; ``last`` is the least."""
    return max(last, BEGIN * DECAY**iteration)


def floor_under(share: float, *errors: Tensor) -> float:
    """Return the floor under errors [N], the least where several tables are compared under one; 0 if none is finite."""
    floor = share * min(float(each.median()) for each in errors)
    return floor if math.isfinite(floor) else 0.0
