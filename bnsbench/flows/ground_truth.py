"""Ground truth: the ODE solved by adaptive Runge-Kutta (Dormand-Prince 5(4) of torchdiffeq), its own error measured."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torchdiffeq import odeint

from bnsbench.errors import DivergedError
from bnsbench.flows.fields import BatchField, CountingField
from bnsbench.flows.predictions import per_sample
from bnsbench.flows.psnr import psnr_per_sample


@dataclass(frozen=True)
class Trajectory:
    """Ground-truth states x [times, batch, ...] and velocities u of the same shape at ``times`` [times]."""

    times: Tensor
    x: Tensor
    u: Tensor

    def part(self, index: Tensor | slice) -> Trajectory:
        """Return the trajectories of the samples ``index``."""
        return Trajectory(self.times, self.x[:, index], self.u[:, index])

    def at(self, t: float) -> Tensor:
        """Return the state at time t by cubic Hermite interpolation, of fourth order in the spacing of ``times``."""
        return self.along(torch.full((self.x.shape[1],), t, dtype=torch.float64))

    def along(self, t: Tensor) -> Tensor:
        """Return each sample's state [batch, ...] at its own time t [batch], differentiable in t (as `at`)."""
        moment = t.to("cpu", torch.float64).contiguous()
        i = (torch.searchsorted(self.times, moment.detach(), right=True) - 1).clamp(0, len(self.times) - 2)
        h = self.times[i + 1] - self.times[i]
        s = (moment - self.times[i]) / h
        blend = (1 + 2 * s) * (1 - s) ** 2, h * s * (1 - s) ** 2, s * s * (3 - 2 * s), h * s * s * (s - 1)
        samples = torch.arange(len(t))
        i = i.to(self.x.device)
        knots = self.x[i, samples], self.u[i, samples], self.x[i + 1, samples], self.u[i + 1, samples]
        return sum(
            (per_sample(weight, knot) * knot for weight, knot in zip(blend, knots, strict=True)),
            start=torch.zeros_like(knots[0]),
        )


def solve(field: BatchField, x0: Tensor, tolerance: float) -> tuple[Tensor, int]:
    """Return the end state x(t_end) [batch, ...] from x(t_begin) = x0, and the NFE spent.

    tolerance is both the relative and the absolute one. The step size is shared by the batch, so the result depends on
    the batch within the tolerance; callers that need a reproducible truth keep their batches fixed.
    """
    begin, end = field.interval
    states, nfe = _integrate(field, x0, torch.tensor([begin, end], dtype=torch.float64, device=x0.device), tolerance)
    return states[-1], nfe


def solve_trajectory(field: BatchField, x0: Tensor, points: int, tolerance: float) -> tuple[Trajectory, int]:
    """Return the trajectory at ``points`` equidistant times over the field's interval, and the NFE spent."""
    begin, end = field.interval
    times = torch.linspace(begin, end, points, dtype=torch.float64, device=x0.device)
    states, nfe = _integrate(field, x0, times, tolerance)
    with torch.no_grad():
        velocities = torch.stack([field(t, x) for t, x in zip(times, states, strict=True)])
    return Trajectory(times.cpu(), states, velocities), nfe + points


def ceiling(field: BatchField, x0: Tensor, truth: Tensor, tolerance: float, data_range: float) -> float:
    """Return the PSNR in dB of ``truth`` against a solve at a tenth of its tolerance: what it can resolve.

    Mean over samples of 10 log10(range^2 / MSE); a PSNR near it says more about the truth than about the solver.
    """
    tighter, _ = solve(field, x0, tolerance / 10)
    return float(psnr_per_sample(truth, tighter, data_range).mean())


def _integrate(field: BatchField, x0: Tensor, times: Tensor, tolerance: float) -> tuple[Tensor, int]:
    counter = CountingField(field)
    # step_t: without it the last step would overshoot the interval and interpolate back.
    with torch.no_grad():
        try:
            states = odeint(
                counter, x0, times, rtol=tolerance, atol=tolerance, method="dopri5", options={"step_t": times[-1:]}
            )
        except AssertionError as error:  # torchdiffeq reports an underflowing step or a NaN in this way
            raise DivergedError(f"The ground truth could not be solved to tolerance {tolerance:g}: {error}.") from error
    if not math.isfinite(float(states[-1].double().sum())):
        raise DivergedError(f"The ground truth left the finite numbers at tolerance {tolerance:g}.")
    return states, counter.nfe
