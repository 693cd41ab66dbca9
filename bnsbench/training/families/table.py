"""The NS table in training: its times and its rows (a_i, b_i0 .. b_ii)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from scipy.interpolate import PchipInterpolator
from torch import Tensor

from bnsbench.nonstationary.table import NonStationarySolver


@dataclass(frozen=True)
class Table:
    """An NS table in training: float64 times [n + 1] and rows [n, n + 1], where row i is (a_i, b_i0, .., b_ii, 0, ..)."""

    times: Tensor
    rows: Tensor

    @classmethod
    def of(cls, solver: NonStationarySolver) -> Table:
        """Return the table of a solver."""
        return cls(solver.times.clone(), torch.cat([solver.a[:, None], solver.b], dim=1))

    @property
    def n(self) -> int:
        return len(self.rows)

    def solver(self) -> NonStationarySolver:
        """Return the table as the solver that samples with it."""
        return NonStationarySolver(times=self.times.clone(), a=self.rows[:, 0].clone(), b=self.rows[:, 1:].clone())

    def with_row(self, i: int, row: Tensor) -> Table:
        """Return the table with row i replaced by ``row`` [i + 2]."""
        rows = self.rows.clone()
        rows[i, : i + 2] = row
        return Table(self.times, rows)

    def opened(self, smallest: float = 1e-4) -> Table:
        """Return the table with every gap at least ``smallest`` of the interval, for rules that repeat a time."""
        span = self.times[-1] - self.times[0]
        gaps = (self.times.diff() / span).clamp_min(smallest)
        reached = self.times[0] + span * torch.cumsum(gaps / gaps.sum(), 0)[:-1]
        return Table(torch.cat([self.times[:1], reached, self.times[-1:]]), self.rows)


def lower(n: int) -> tuple[Tensor, Tensor]:
    """Return the indices of the free entries of rows [n, n + 1], row by row."""
    index = torch.tril_indices(n, n + 1, offset=1)
    return index[0], index[1]


def transfer_times(times: Tensor, n: int) -> Tensor:
    """Return a grid [n + 1] that follows the shape of another: monotone cubic interpolation of i / n -> t_i."""
    known = torch.linspace(0, 1, len(times), dtype=torch.float64)
    shape = PchipInterpolator(known.numpy(), times.numpy())
    new = torch.from_numpy(shape(torch.linspace(0, 1, n + 1, dtype=torch.float64).numpy()))
    new[0], new[-1] = times[0], times[-1]
    return new
