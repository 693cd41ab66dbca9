"""Where on a path a field can be integrated: times at which it stands still, or ends like a root, are left out."""

from __future__ import annotations

import math

from bnsbench.flows.paths import VP, Path

VP_END = 1.0 - 1e-3
"""The time at which users of VP stop; other paths that end like it stop at its noise level there."""
STEEP = 1e6
"""A slope of sigma from which on it counts as infinite."""
LITTLE = 1e-4
"""Of data beside noise, or noise beside data, where paths begin or end that stand still there."""
STILL = 1e-9
"""A Wronskian that counts as zero."""


def stands_still(path: Path, t: float) -> bool:
    """Return whether alpha and sigma keep their ratio at a time: d log(alpha / sigma) / dt = W / (alpha sigma) with W = 0.

    A velocity there says nothing of the data or the noise, since x1 and eps are divided by W.

    Args:
        path: Such as alpha = t^2, sigma = 1 - t^2, which stands still at t = 0.
        t: The time, from 0 to 1.
    """
    wronskian = path.sigma(t) * path.d_alpha(t) - path.d_sigma(t) * path.alpha(t)
    return abs(float(wronskian)) < STILL


def usual_interval(path: Path) -> tuple[float, float]:
    """Return the times on which a field of the path is sampled unless its author says otherwise.

    It is [0, 1], without an end at which the path stands still, or at which the slope of sigma is infinite, as on VP.
    """
    begin, end = 0.0, 1.0
    if stands_still(path, 0.0):
        begin = float(path.time(math.log(LITTLE)))
    if stands_still(path, 1.0):
        end = float(path.time(-math.log(LITTLE)))
    elif float(path.d_sigma(1.0).abs()) > STEEP:
        # At the noise level that VP has at VP_END; 9 digits give VP_END itself for that path.
        end = round(float(path.time(VP().log_snr(VP_END))), 9)
    return begin, end
