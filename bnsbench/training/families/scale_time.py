"""Bespoke solvers: a Runge-Kutta rule after a learned change of scale and time (Shaul et al. 2023, arXiv 2310.19075)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bnsbench.errors import NotApplicableError
from bnsbench.nonstationary.table import NonStationarySolver, canonical
from bnsbench.training.families.parametrisation import LogGaps, Parametrisation
from bnsbench.truth.pairs import Pairs


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

    @property
    def logarithms(self) -> int:
        return self.log_gaps + 2 * self._n

    def start(self) -> Tensor:
        n = self._n
        speed = torch.full((n,), self._log_speed, dtype=torch.float64)
        return torch.cat([self._gaps.start, speed, torch.zeros(2 * n, dtype=torch.float64)])

    def table(self, theta: Tensor) -> NonStationarySolver:
        times, *change = self._change(theta)
        a, b = canonical(*self._steps(*change))
        return NonStationarySolver.from_rows(times, torch.cat([a[:, None], b], dim=1))

    def bound(self, theta: Tensor, pairs: Pairs) -> Tensor:
        """Return the mean of sum_i M_i d_i (0-d), their bound on the root mean square error of the end state.

        d_i is the error of one step that begins on the true trajectory, M_i the product of the later steps' Lipschitz
        constants, where the field's own is taken for 1 as in the published experiments. The true states move with the
        times.
        """
        times, speed, scale, slope = self._change(theta)
        c, d = self._steps(speed, scale, slope)
        truth = self._truth(pairs, times[:: self._order])
        # M_i: what the later steps can make of an error of this one.
        growth = self._growth(scale, slope.abs() / scale[:-1] + speed)
        later = torch.cat([growth[1:].flip(0).cumprod(0).flip(0), growth.new_ones(1)])
        # d_i: the error of one step from the true trajectory.
        total = torch.zeros(len(pairs), dtype=torch.float64)
        for k, first in enumerate(range(0, self._n, self._order)):
            end = self._local_step(pairs, truth[k], times, c, d, first)
            local = (end - truth[k + 1]).flatten(1).double().square().mean(1).clamp_min(1e-28).sqrt().cpu()
            total = total + later[k] * local
        return (total * pairs.sample_weights()).sum()

    def _truth(self, pairs: Pairs, times: Tensor) -> list[Tensor]:
        if pairs.trajectory is None:
            raise ValueError("the bound needs pairs with their trajectories")
        return [pairs.trajectory.along(t.expand(len(pairs))) for t in times]

    def _local_step(self, pairs: Pairs, x: Tensor, times: Tensor, c: Tensor, d: Tensor, i: int) -> Tensor:
        """Return the state after the step that begins with evaluation i at the state x."""
        state = c[i, i].to(x) * x + d[i, i].to(x) * pairs.field(times[i], x)
        if self._order == 1:
            return state
        leap, stay, push = (value.to(x) for value in (c[i + 1, i], c[i + 1, i + 1], d[i + 1, i + 1]))
        return leap * x + stay * state + push * pairs.field(times[i + 1], state)

    def _growth(self, scale: Tensor, rates: Tensor) -> Tensor:
        """Return the Lipschitz constant of every step, for fields of Lipschitz constant 1 (their Eqs. 48 and 49)."""
        h = self._order / self._n
        ratio = scale[: -1 : self._order] / scale[self._order :: self._order]
        if self._order == 1:
            return ratio * (1 + h * rates)
        return ratio * (1 + h * rates[1::2] * (1 + 0.5 * h * rates[::2]))

    def _change(self, theta: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return times t [n + 1], dt/dr at every evaluation [n], scales s [n + 1] and ds/dr at every evaluation [n]."""
        logs, log_speed, log_scale, slope = torch.split(theta, [self.log_gaps, self._n, self._n, self._n])
        scale = torch.cat([log_scale.new_zeros(1), log_scale]).exp()
        return self._gaps.times(logs), log_speed.exp(), scale, slope

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
        push = torch.where(begins, 0.5, 1.0) * (h * speed * now / after)
        leap = torch.where(begins[:-1], now[:-1] / after[1:], 0.0)
        return torch.diag(stay) + torch.diag(leap, -1), torch.diag(push)
