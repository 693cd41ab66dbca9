"""Families around a classic rule: its time grid alone, with corrections, or with other times told to the network."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from bnsbench.errors import UsageError
from bnsbench.flows.paths import Path
from bnsbench.flows.predictions import Prediction, velocity_coefficients
from bnsbench.nonstationary.table import NonStationarySolver, canonical
from bnsbench.training.families.parametrisation import LogGaps, Parametrisation, entries, rows_of, with_entries

Rule = Callable[[Tensor], NonStationarySolver]
"""A classic solver as a function of its time grid, such as its trace on the grid."""


class RuleTimes(Parametrisation):
    """The grid of a classic rule: the family of LD3 (arXiv 2405.15506); its derivative is taken by central differences.

    Where a step has closed so far that the rule has no coefficients, the rows are NaN, which every trainer turns away from.
    """

    step = 1e-5
    differentiable = False

    def __init__(self, rule: Rule, times: Tensor) -> None:
        self._rule = rule
        self._gaps = LogGaps(times)
        self.log_gaps = len(times) - 2
        self._standard = rule(times)

    def start(self) -> Tensor:
        return self._gaps.start.clone()

    def table(self, theta: Tensor) -> NonStationarySolver:
        try:
            return self._rule(self._gaps.times(theta[: self.log_gaps]))
        except (UsageError, ArithmeticError, ValueError):
            return NonStationarySolver.from_rows(self._standard.times, torch.full_like(self._standard.rows, torch.nan))

    def jacobian(self, theta: Tensor) -> Tensor:
        if not self.log_gaps:  # a single step has no time to choose
            return torch.zeros(len(entries(self.table(theta))), 0, dtype=torch.float64)
        steps = self.step * torch.eye(self.log_gaps, len(theta), dtype=torch.float64)
        columns = [entries(self.table(theta + h)) - entries(self.table(theta - h)) for h in steps]
        return torch.stack(columns, dim=1) / (2 * self.step)


class Anchored(RuleTimes):
    """A classic rule on learned times plus learned corrections of its rows: the family of GS (arXiv 2510.17699).

    The rule's rows move with the times, which keeps the corrections small.
    """

    holds_last_row = True

    def start(self) -> Tensor:
        n = self._standard.nfe
        return torch.cat([self._gaps.start, torch.zeros(n * (n + 3) // 2, dtype=torch.float64)])

    def table(self, theta: Tensor) -> NonStationarySolver:
        base = super().table(theta)
        return NonStationarySolver.from_rows(base.times, base.rows + rows_of(theta[self.log_gaps :], base.nfe))

    def jacobian(self, theta: Tensor) -> Tensor:
        moved_times = super().jacobian(theta)
        corrections = len(theta) - self.log_gaps
        still = moved_times.new_zeros(len(moved_times) - corrections, corrections)
        return torch.cat([moved_times, torch.cat([still, torch.eye(corrections, dtype=torch.float64)])], dim=1)

    def with_last_row(self, theta: Tensor, row: Tensor) -> Tensor:
        base = super().table(theta)
        return torch.cat([theta[: -len(row)], row - base.rows[-1]])


class Decoupled(Parametrisation):
    """A family whose network is told other times than its coefficients are made for, as LD3 does (arXiv 2405.15506).

    With f the network's prediction, a rule that would use f(t_j, x_j) gets f(t'_j, x_j): its velocity at t_j becomes
    kappa_j u_{t'_j}(x_j) + mu_j x_j, so that the table stays a table. theta: the family's, then the shifts of t_1 .. t_{n-1}
    in the logit of their place in the interval; the first time is not shifted.
    """

    def __init__(self, family: Parametrisation, path: Path, prediction: Prediction) -> None:
        self._family, self._path, self._prediction = family, path, prediction
        self._shifts = family.table(family.start()).nfe - 1
        self.log_gaps = family.log_gaps
        self.differentiable = family.differentiable

    @property
    def logarithms(self) -> int:
        return self._family.logarithms

    def start(self) -> Tensor:
        return torch.cat([self._family.start(), torch.zeros(self._shifts, dtype=torch.float64)])

    def table(self, theta: Tensor) -> NonStationarySolver:
        inner, shifts = self._split(theta)
        return self._retimed(self._family.table(inner), shifts)

    def jacobian(self, theta: Tensor) -> Tensor:
        inner, shifts = self._split(theta)
        base = self._family.table(inner)

        def outer(values: Tensor, moved: Tensor) -> Tensor:
            return entries(self._retimed(with_entries(base, values), moved))

        jacobian = torch.autograd.functional.jacobian
        by_entries, by_shifts = jacobian(outer, (entries(base), shifts))  # type: ignore[no-untyped-call]
        return torch.cat([by_entries @ self._family.jacobian(inner), by_shifts], dim=1)

    def _split(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        count = len(theta) - self._shifts
        return theta[:count], theta[count:]

    def _retimed(self, base: NonStationarySolver, shifts: Tensor) -> NonStationarySolver:
        # The times that the network is told: the rule's own, shifted in the logit of their place in the interval.
        begin, span = base.times[0], base.times[-1] - base.times[0]
        told = begin + span * torch.sigmoid(torch.logit((base.times[1:-1] - begin) / span, eps=1e-9) + shifts)
        kappa, mu = self._conversion(base.times[1:-1], told)
        # A velocity kappa u + mu x in place of u: x_{i+1} = a x_0 + sum_j b_ij (kappa_j u_j + mu_j x_j), in canonical form.
        one, none = base.rows.new_ones(1), base.rows.new_zeros(1)
        b = base.rows[:, 1:]
        c = b * torch.cat([none, mu]) + torch.cat([base.rows[:, :1], b.new_zeros(base.nfe, base.nfe - 1)], dim=1)
        a, b = canonical(c, b * torch.cat([one, kappa]))
        return NonStationarySolver.from_rows(
            torch.cat([base.times[:1], told, base.times[-1:]]), torch.cat([a[:, None], b], dim=1)
        )

    def _conversion(self, used: Tensor, told: Tensor) -> tuple[Tensor, Tensor]:
        """Return kappa and mu of u(used) = kappa u(told) + mu x for one and the same prediction of the network."""
        beta, gamma = velocity_coefficients(self._path, self._prediction, used)
        told_beta, told_gamma = velocity_coefficients(self._path, self._prediction, told)
        kappa = gamma / told_gamma
        return kappa, beta - kappa * told_beta
