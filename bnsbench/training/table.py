"""The free NS table as a vector of parameters: log-gaps of the times, then the rows (a_i, b_i0 .. b_ii)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from scipy.interpolate import PchipInterpolator
from torch import Tensor

from bnsbench.errors import NotApplicableError
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

    def moved(self, step: Tensor) -> Table:
        """Return the table after a step [n - 1 + n (n + 3) / 2] in (log-gaps, rows); the last log-gap is held."""
        gaps = self._gaps()
        logs = torch.log(gaps)
        logs[:-1] += step[: self.n - 1]
        rows = self.rows.clone()
        rows[lower(self.n)] += step[self.n - 1 :]
        return Table(self._times(torch.softmax(logs, 0)), rows)

    def time_jacobian(self) -> Tensor:
        """Return d t_i / d tau_k for i, k = 1 .. n - 1: gap_k ([k <= i] - t_i) on the unit interval, times its length."""
        gaps = self._gaps()
        before = torch.tril(torch.ones(self.n - 1, self.n - 1, dtype=torch.float64))
        reached = torch.cumsum(gaps, 0)[:-1]
        return gaps[None, :-1] * (before - reached[:, None]) * self._span()

    def opened(self, smallest: float = 1e-4) -> Table:
        """Return the table with every gap at least ``smallest`` of the interval, for rules that repeat a time."""
        gaps = ((self.times[1:] - self.times[:-1]) / self._span()).clamp_min(smallest)
        return Table(self._times(gaps / gaps.sum()), self.rows)

    def _span(self) -> float:
        return float(self.times[-1] - self.times[0])

    def _gaps(self) -> Tensor:
        gaps = (self.times[1:] - self.times[:-1]) / self._span()
        if bool((gaps <= 0).any()):
            raise NotApplicableError("The table's times do not increase, so their log-gaps are undefined; open them first.")
        return gaps

    def _times(self, gaps: Tensor) -> Tensor:
        times = self.times.clone()
        times[1:-1] = self.times[0] + self._span() * torch.cumsum(gaps, 0)[:-1]
        return times


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
