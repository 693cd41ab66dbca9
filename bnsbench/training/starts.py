"""Where training starts when nothing better is known: a few time grids, of which the best by PSNR is taken."""

from __future__ import annotations

from torch import Tensor

from bnsbench.flows.paths import Path
from bnsbench.solvers.grids import time_grid

START_GRIDS = ("uniform", "shifted:3", "logsnr:-3:3", "logsnr:-5:5", "quadratic")
"""Grids that between them suit the paths in use: steps equal in time, in log-SNR, and gathered at either end."""


def start_grids(path: Path, interval: tuple[float, float], steps: int) -> dict[str, Tensor]:
    """Return the grids [steps + 1] of START_GRIDS, by name."""
    return {name: time_grid(name, path, interval, steps) for name in START_GRIDS}
