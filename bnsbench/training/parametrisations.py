"""Families of NS tables: what a learned solver may change, as parameters theta -> table.

A trainer knows a family only by its start, its table and its Jacobian, so that every learned solver of the field differs in
what it ties and in nothing else.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from bnsbench.errors import NotApplicableError
from bnsbench.nonstationary.table import canonical
from bnsbench.training.table import Table, lower


def entries(table: Table) -> Tensor:
    """Return what a table has to choose, (t_1 .. t_{n-1}, free row entries row by row) [n - 1 + n (n + 3) / 2]."""
    return torch.cat([table.times[1:-1], table.rows[lower(table.n)]])


class Parametrisation(ABC):
    """A family of tables of one NFE; theta is a float64 vector [p] that begins with ``log_gaps`` log-gaps of times."""

    log_gaps = 0

    @abstractmethod
    def start(self) -> Tensor:
        """Return the parameters from which training starts [p]."""

    @abstractmethod
    def table(self, theta: Tensor) -> Table:
        """Return the table of these parameters, differentiable unless `jacobian` is overridden."""

    def jacobian(self, theta: Tensor) -> Tensor:
        """Return d entries / d theta [entries, p]."""
        jacobian = torch.autograd.functional.jacobian
        found: Tensor = jacobian(lambda parameters: entries(self.table(parameters)), theta)  # type: ignore[no-untyped-call]
        return found

    def with_last_row(self, theta: Tensor, row: Tensor) -> Tensor | None:
        """Return the parameters whose table has the last row ``row`` [n + 1]; None if the family does not hold all rows."""
        del theta, row
        return None


class LogGaps:
    """Increasing times from begin to end as n - 1 logarithms of gaps, relative to the last gap: t_i = cumsum softmax."""

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
        return torch.cat([self.begin[None], reached, self.end[None]])


def rows_of(values: Tensor, n: int) -> Tensor:
    """Return rows [n, n + 1] with these free entries, row by row."""
    row, column = lower(n)
    return values.new_zeros(n * (n + 1)).index_put((row * (n + 1) + column,), values).view(n, n + 1)


class FreeTable(Parametrisation):
    """Every table: the family of BNS (Shaul et al. 2024), with n (n + 5) / 2 - 1 parameters besides its two ends."""

    def __init__(self, table: Table) -> None:
        self._start = table
        self._gaps = LogGaps(table.times)
        self.log_gaps = table.n - 1

    def start(self) -> Tensor:
        return torch.cat([self._gaps.start, self._start.rows[lower(self._start.n)]])

    def table(self, theta: Tensor) -> Table:
        return Table(self._gaps.times(theta[: self.log_gaps]), rows_of(theta[self.log_gaps :], self._start.n))

    def with_last_row(self, theta: Tensor, row: Tensor) -> Tensor:
        return torch.cat([theta[: -len(row)], row])


class Coefficients(Parametrisation):
    """The rows alone, on fixed times: the family of S4S (arXiv 2502.17423)."""

    def __init__(self, table: Table) -> None:
        self._start = table

    def start(self) -> Tensor:
        return self._start.rows[lower(self._start.n)]

    def table(self, theta: Tensor) -> Table:
        return Table(self._start.times, rows_of(theta, self._start.n))

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

    def table(self, theta: Tensor) -> Table:
        n = self._n
        times = self._gaps.times(theta[: self.log_gaps])
        row, column = torch.tril_indices(n, n, offset=-1)
        weights = theta.new_zeros(n * n).index_put((row * n + column,), theta[self.log_gaps :]).view(n, n)
        weights = weights + torch.diag(1.0 - weights.sum(1))
        b = torch.cumsum(times.diff()[:, None] * weights, 0)
        return Table(times, torch.cat([torch.ones_like(b[:, :1]), b], dim=1))


class ScaleTime(Parametrisation):
    """Euler's or the midpoint rule after a learned change of scale and time: bespoke solvers, BST (arXiv 2310.19075).

    order 1: one evaluation per step of size 1 / n, 4 n - 1 parameters; order 2: two per step of size 2 / n, as many. theta:
    log-gaps, log of dt/dr at each evaluation, log of s after each of them (s = 1 at the beginning), ds/dr at each of them.
    It starts from the plain rule. Their Eqs. 17, 19 and 20 give the steps.
    """

    def __init__(self, n: int, interval: tuple[float, float], order: int) -> None:
        if order not in (1, 2) or n % order:
            raise NotApplicableError(
                f"A scale-time rule of order {order} spends a multiple of {order} evaluations, not {n}."
            )
        self._gaps = LogGaps(torch.linspace(*interval, n + 1, dtype=torch.float64))
        self._n, self._order = n, order
        self._log_speed = math.log(interval[1] - interval[0])
        self.log_gaps = n - 1

    def start(self) -> Tensor:
        n = self._n
        speed = torch.full((n,), self._log_speed, dtype=torch.float64)
        return torch.cat([self._gaps.start, speed, torch.zeros(2 * n, dtype=torch.float64)])

    def table(self, theta: Tensor) -> Table:
        logs, log_speed, log_scale, slope = torch.split(theta, [self.log_gaps, self._n, self._n, self._n])
        scale = torch.cat([log_scale.new_zeros(1), log_scale]).exp()
        c, d = self._steps(log_speed.exp(), scale, slope)
        a, b = canonical(c, d)
        return Table(self._gaps.times(logs), torch.cat([a[:, None], b], dim=1))

    def _steps(self, speed: Tensor, scale: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
        """Return c and d [n, n] of x_{i+1} = sum_j c_ij x_j + d_ij u_j."""
        now, after = scale[:-1], scale[1:]
        if self._order == 1:
            h = 1.0 / self._n
            return torch.diag((now + h * slope) / after), torch.diag(h * speed * now / after)
        # Evaluations 2 k begin a step, evaluations 2 k + 1 are at its middle, whose row leaps from the beginning.
        h = 2.0 / self._n
        begins = torch.arange(self._n) % 2 == 0
        stay = torch.where(begins, (now + 0.5 * h * slope) / after, h * slope / after)
        push = torch.where(begins, 0.5 * h, h) * speed * now / after
        leap = torch.where(begins[:-1], now[:-1] / after[1:], 0.0)
        return torch.diag(stay) + torch.diag(leap, -1), torch.diag(push)


Rule = Callable[[Tensor], Table]
"""A classic solver as a function of its time grid, such as its trace on the grid."""


class RuleTimes(Parametrisation):
    """The grid of a classic rule: the family of LD3 (arXiv 2405.15506); its derivative is taken by central differences."""

    step = 1e-5

    def __init__(self, rule: Rule, times: Tensor) -> None:
        self._rule = rule
        self._gaps = LogGaps(times)
        self.log_gaps = len(times) - 2

    def start(self) -> Tensor:
        return self._gaps.start.clone()

    def table(self, theta: Tensor) -> Table:
        return self._rule(self._gaps.times(theta[: self.log_gaps]))

    def jacobian(self, theta: Tensor) -> Tensor:
        steps = self.step * torch.eye(self.log_gaps, len(theta), dtype=torch.float64)
        columns = [entries(self.table(theta + h)) - entries(self.table(theta - h)) for h in steps]
        return torch.stack(columns, dim=1) / (2 * self.step)


class Anchored(RuleTimes):
    """A classic rule on learned times plus learned corrections of its rows: the family of GS (arXiv 2510.17699).

    The rule's rows move with the times, which keeps the corrections small.
    """

    def start(self) -> Tensor:
        n = self._rule(self._gaps.times(self._gaps.start)).n
        return torch.cat([self._gaps.start, torch.zeros(n * (n + 3) // 2, dtype=torch.float64)])

    def table(self, theta: Tensor) -> Table:
        base = super().table(theta)
        return Table(base.times, base.rows + rows_of(theta[self.log_gaps :], base.n))

    def jacobian(self, theta: Tensor) -> Tensor:
        moved_times = super().jacobian(theta)
        corrections = len(theta) - self.log_gaps
        still = moved_times.new_zeros(len(moved_times) - corrections, corrections)
        return torch.cat([moved_times, torch.cat([still, torch.eye(corrections, dtype=torch.float64)])], dim=1)

    def with_last_row(self, theta: Tensor, row: Tensor) -> Tensor:
        base = super().table(theta)
        return torch.cat([theta[: -len(row)], row - base.rows[-1]])
