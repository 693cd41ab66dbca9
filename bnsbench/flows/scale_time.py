"""Change of path after training: the same trajectories seen in another time and scale."""

from __future__ import annotations

import torch
from torch import Tensor

from bnsbench.flows.fields import BatchField, Columns, jumps_of
from bnsbench.flows.paths import Path
from bnsbench.flows.predictions import per_sample


class ScaleTimeField:
    """A field after a change of path: x_bar(r) = s_r x(t_r), where t_r has the log-SNR of the new path at r.

    With s_r = sigma_bar_r / sigma_{t_r}, its velocity is u_bar_r(x) = (s'_r / s_r) x + s_r t'_r u_{t_r}(x / s_r) (Shaul et
    al. 2024, Section 3.3): the same trajectories seen on the path ``path``, so a solver on this field is another solver
    for the original model.
    """

    def __init__(self, field: BatchField, path: Path) -> None:
        self.field = field
        self.path = path
        self.forwards_per_evaluation = field.forwards_per_evaluation

    @property
    def interval(self) -> tuple[float, float]:
        begin, end = self._new_times(self.field.interval)
        return begin, end

    @property
    def jumps(self) -> tuple[float, ...]:
        return self._new_times(jumps_of(self.field))

    def _new_times(self, times: tuple[float, ...]) -> tuple[float, ...]:
        """Return the times at which the new path has the log-SNR of the old one at ``times``."""
        return tuple(self.path.time(self.field.path.log_snr(torch.tensor(times, dtype=torch.float64))).tolist())

    def __call__(self, t: Tensor, x: Tensor) -> Tensor:
        return self._seen(t, x, None)[0]

    def answers(self, t: Tensor, x: Tensor, guidance: float) -> Tensor:
        """Return both answers of a guided field [2, batch, ...], each a velocity on the new path; see `HasAnswers`."""
        return self._seen(t, x, guidance)

    def _seen(self, t: Tensor, x: Tensor, guidance: float | None) -> Tensor:
        """Return u_bar = (s' / s) x + s t' u(x / s) of the field's velocity, or of both answers [columns, batch, ...]."""
        time, scale, d_time, d_log_scale = scale_time(self.field.path, self.path, t)
        u = Columns(self.field, guidance)(time, x / per_sample(scale, x))
        return per_sample(d_log_scale, x) * x + per_sample(scale * d_time, x) * u

    def part(self, index: Tensor | slice) -> ScaleTimeField:
        return ScaleTimeField(self.field.part(index), self.path)

    def scale(self, r: Tensor | float) -> Tensor:
        """s_r, by which states of the original field are multiplied: x_bar = s_r x."""
        return scale_time(self.field.path, self.path, r)[1]


def time_at(path: Path, log_snr: Tensor) -> Tensor:
    """Return `Path.time` of log-SNR of any shape, differentiable also where a path finds its times by a search."""
    with torch.no_grad():
        t = path.time(log_snr)
        # d lambda/dt = (sigma alpha' - sigma' alpha) / (alpha sigma), whose inverse is the derivative of the time.
        alpha, sigma = path.alpha(t), path.sigma(t)
        inverse = alpha * sigma / (sigma * path.d_alpha(t) - path.d_sigma(t) * alpha)
    return t + inverse * (log_snr - log_snr.detach()) if log_snr.requires_grad else t


def scale_time(path: Path, new: Path, r: Tensor | float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return float64 (t_r, s_r, dt/dr, d log s / dr) of the change from ``path`` to ``new`` at the new time r.

    s_r = sigma_bar / sigma = alpha_bar / alpha; the larger of the two coefficients is used, so neither end is singular.

    Args:
        path: The Gaussian path of the original field.
        new: The path on which it is seen.
        r: Times on the new path, of any shape, which the results keep.
    """
    # t_r: where the two paths have the same log-SNR.
    t = time_at(path, new.log_snr(r))
    alpha, sigma, new_alpha, new_sigma = path.alpha(t), path.sigma(t), new.alpha(r), new.sigma(r)
    d_alpha, d_sigma, new_d_alpha, new_d_sigma = path.d_alpha(t), path.d_sigma(t), new.d_alpha(r), new.d_sigma(r)
    # s_r = sigma_bar / sigma near the noise, alpha_bar / alpha near the data.
    noisy = sigma > alpha
    scale = torch.where(noisy, new_sigma / sigma, new_alpha / alpha)
    # t'_r: with d lambda/dr = W_bar / (alpha_bar sigma_bar) and d lambda/dt = W / (alpha sigma), where
    # W = sigma alpha' - sigma' alpha, their quotient is W_bar / (W s^2).
    wronskian, new_wronskian = sigma * d_alpha - d_sigma * alpha, new_sigma * new_d_alpha - new_d_sigma * new_alpha
    d_time = new_wronskian / (wronskian * scale**2)
    # s'_r / s_r: the derivative of log s = log sigma_bar(r) - log sigma(t_r), or of the same with alpha.
    from_noise = new_d_sigma / new_sigma - d_sigma / sigma * d_time
    from_data = new_d_alpha / new_alpha - d_alpha / alpha * d_time
    return t, scale, d_time, torch.where(noisy, from_noise, from_data)
