"""Families of NS tables: what a learned solver may change, as parameters theta -> table.

A trainer knows a family only by its start, its table and its Jacobian, so that every learned solver of the field differs in
what it ties and in nothing else.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from bnsbench.errors import NotApplicableError
from bnsbench.flows.paths import CANONICAL, Path
from bnsbench.nonstationary.change_of_path import on_path
from bnsbench.nonstationary.table import NonStationarySolver, free_entries


def entries(table: NonStationarySolver) -> Tensor:
    """Return what a table has to choose, (t_1 .. t_{n-1}, free row entries row by row).

    These are n - 1 + n (n + 3) / 2 numbers, or of split columns 2 n - 1 + n (n + 1).
    """
    return torch.cat([table.times[1:-1], free_of(table)])


def free_of(table: NonStationarySolver) -> Tensor:
    """Return a table's free row entries, row by row."""
    return table.rows[free_entries(table.nfe, table.columns)]


def with_entries(table: NonStationarySolver, values: Tensor) -> NonStationarySolver:
    """Return the table with the same two ends and these entries."""
    times = torch.cat([table.times[:1], values[: table.nfe - 1], table.times[-1:]])
    return with_free(table, times, values[table.nfe - 1 :])


def with_free(table: NonStationarySolver, times: Tensor, values: Tensor) -> NonStationarySolver:
    """Return the table of the same kind on ``times`` with these free row entries."""
    return NonStationarySolver.from_rows(times, rows_of(values, table.nfe, table.columns), table.guidance)


class Parametrisation(ABC):
    """A family of tables of one NFE; theta is a float64 vector [p] that begins with ``log_gaps`` log-gaps of times."""

    log_gaps = 0
    holds_last_row = False
    """Whether every last row belongs to the family."""
    differentiable = True
    """Whether autograd can follow `table`; a family whose table it cannot follow has a `jacobian` of its own."""

    @property
    def logarithms(self) -> int:
        """How many parameters at the beginning are logarithms, of gaps and maybe more; their steps have to be bounded."""
        return self.log_gaps

    @abstractmethod
    def start(self) -> Tensor:
        """Return the parameters from which training starts [p]."""

    @abstractmethod
    def table(self, theta: Tensor) -> NonStationarySolver:
        """Return the table of these parameters."""

    def jacobian(self, theta: Tensor) -> Tensor:
        """Return d entries / d theta [entries, p]."""
        jacobian = torch.autograd.functional.jacobian
        found: Tensor = jacobian(lambda parameters: entries(self.table(parameters)), theta)  # type: ignore[no-untyped-call]
        return found

    def with_last_row(self, theta: Tensor, row: Tensor) -> Tensor:
        """Return the parameters whose table has the last row ``row`` [1 + n columns], for a family that holds every one."""
        del theta, row
        raise TypeError(f"{type(self).__name__} does not hold every last row")


class LogGaps:
    """Increasing times from begin to end as n - 1 logarithms of gaps, relative to the last gap: t_i = cumsum softmax.

    Args:
        times: the grid [n + 1] from which they start.

    Raises:
        NotApplicableError: if it does not increase.
    """

    def __init__(self, times: Tensor) -> None:
        self.begin, self.end = times[0], times[-1]
        gaps = times.diff()
        if bool((gaps <= 0).any()):
            raise NotApplicableError("Times that do not increase have no log-gaps; open them by a small gap first.")
        self.start = torch.log(gaps[:-1] / gaps[-1])

    def times(self, logs: Tensor) -> Tensor:
        """Return the times [n + 1]."""
        gaps = torch.softmax(torch.cat([logs, logs.new_zeros(1)]), 0)
        reached = self.begin + (self.end - self.begin) * torch.cumsum(gaps, 0)[:-1]
        reached = torch.minimum(reached, self.end)  # which rounding may pass where the last gap has closed
        return torch.cat([self.begin[None], reached, self.end[None]])


def rows_of(values: Tensor, n: int, columns: int = 1) -> Tensor:
    """Return rows [n, 1 + n columns] with these free entries, row by row."""
    row, column = free_entries(n, columns)
    width = 1 + n * columns
    return values.new_zeros(n * width).index_put((row * width + column,), values).view(n, width)


class FreeTable(Parametrisation):
    """Every table: the family of BNS (Shaul et al. 2024), with n (n + 5) / 2 - 1 parameters besides its two ends.

    From a table of split columns on, every one of these for its guidance, with 2 n - 1 + n (n + 1) parameters.

    theta: log-gaps and rows of the table as it is told on the canonical path, so that a field has the same parameters, and
    the same descent, on whatever path it comes.

    Args:
        table: Where training starts, for fields on ``path``.
        path: That of the field.
    """

    holds_last_row = True

    def __init__(self, table: NonStationarySolver, path: Path = CANONICAL) -> None:
        self._path, self._ends = path, table.times[[0, -1]]
        self._start = on_path(table, path, CANONICAL)
        self._gaps = LogGaps(self._start.times)
        self.log_gaps = table.nfe - 1

    def start(self) -> Tensor:
        return torch.cat([self._gaps.start, free_of(self._start)])

    def table(self, theta: Tensor) -> NonStationarySolver:
        return self._told(self._canonical(theta))

    def with_last_row(self, theta: Tensor, row: Tensor) -> Tensor:
        if self._path != CANONICAL:
            canonical = self._canonical(theta)
            told = self._told(canonical).with_row(canonical.nfe - 1, row)
            row = on_path(told, self._path, CANONICAL).rows[-1]
        return torch.cat([theta[: -len(row)], row])

    def _told(self, canonical: NonStationarySolver) -> NonStationarySolver:
        return on_path(canonical, CANONICAL, self._path, self._ends)

    def _canonical(self, theta: Tensor) -> NonStationarySolver:
        return with_free(self._start, self._gaps.times(theta[: self.log_gaps]), theta[self.log_gaps :])


class Coefficients(Parametrisation):
    """The rows alone, on fixed times: the family of S4S (arXiv 2502.17423)."""

    holds_last_row = True

    def __init__(self, table: NonStationarySolver) -> None:
        self._start = table

    def start(self) -> Tensor:
        return free_of(self._start)

    def table(self, theta: Tensor) -> NonStationarySolver:
        return with_free(self._start, self._start.times, theta)

    def with_last_row(self, theta: Tensor, row: Tensor) -> Tensor:
        return torch.cat([theta[: -len(row)], row])


class LinearMultistep(Parametrisation):
    """x_{i+1} = x_i + (t_{i+1} - t_i) sum_j c_ij u_j with sum_j c_ij = 1: the family of DSS (arXiv 2505.21114).

    It starts from Euler's method on ``times``. theta: log-gaps, then c_ij for j < i row by row.
    """

    def __init__(self, times: Tensor) -> None:
        self._gaps = LogGaps(times)
        self._n = len(times) - 1
        self.log_gaps = self._n - 1

    def start(self) -> Tensor:
        return torch.cat([self._gaps.start, torch.zeros(self._n * (self._n - 1) // 2, dtype=torch.float64)])

    def table(self, theta: Tensor) -> NonStationarySolver:
        n = self._n
        times = self._gaps.times(theta[: self.log_gaps])
        row, column = torch.tril_indices(n, n, offset=-1)
        weights = theta.new_zeros(n * n).index_put((row * n + column,), theta[self.log_gaps :]).view(n, n)
        weights = weights + torch.diag(1.0 - weights.sum(1))  # c_ii, so that every row sums to one
        # Steps add up: row i of b is the sum of h_k c_k over the steps k <= i.
        b = torch.cumsum(times.diff()[:, None] * weights, 0)
        return NonStationarySolver.from_rows(times, torch.cat([torch.ones_like(b[:, :1]), b], dim=1))


class Block(Parametrisation):
    """Some parameters of a family, the others held where they are: what alternating descents take in turn.

    free: their increasing indices; where they include the last, they include all parameters of the last row.
    """

    def __init__(self, family: Parametrisation, theta: Tensor, free: Tensor) -> None:
        self._family, self._theta, self._free = family, theta, free
        self.log_gaps = int((free < family.log_gaps).sum())
        self.differentiable = family.differentiable
        self.holds_last_row = family.holds_last_row and int(free[-1]) == len(theta) - 1

    @property
    def logarithms(self) -> int:
        return int((self._free < self._family.logarithms).sum())

    def start(self) -> Tensor:
        return self._theta[self._free]

    def whole(self, theta: Tensor) -> Tensor:
        """Return the family's parameters, the held ones among them."""
        return self._theta.index_put((self._free,), theta)

    def table(self, theta: Tensor) -> NonStationarySolver:
        return self._family.table(self.whole(theta))

    def jacobian(self, theta: Tensor) -> Tensor:
        return self._family.jacobian(self.whole(theta))[:, self._free]

    def with_last_row(self, theta: Tensor, row: Tensor) -> Tensor:
        if not self.holds_last_row:
            return super().with_last_row(theta, row)  # which refuses
        return self._family.with_last_row(self.whole(theta), row)[self._free]
