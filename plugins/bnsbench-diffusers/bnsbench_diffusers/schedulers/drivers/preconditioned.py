"""EDM's schedulers, which precondition networks themselves (Karras et al. 2022)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from bnsbench.plugin import combine, to_data, velocity_coefficients
from bnsbench_diffusers.schedulers.conventions import noise_ratio
from bnsbench_diffusers.schedulers.drivers.base import Evaluation
from bnsbench_diffusers.schedulers.drivers.timesteps import UNCLIPPED, TimestepDriver

SAME_RATIO = 1e-4
"""Relative deviation of noise levels that are the same one, typed by hand."""


class PreconditionedDriver(TimestepDriver):
    """Drives schedulers whose states are x / alpha and which make the data of a network's raw output F themselves.

    They go by noise levels alone, from that where the interval begins to that where it ends, and the field is evaluated at
    the time of the level. What the model's network predicts makes no difference, since F is made of the data that its
    velocity means; prediction_type is the sign of F.
    """

    def settings(self) -> Mapping[str, Any]:
        largest, smallest = self._bounds
        ends = {} if self.ends_in_data else {"final_sigmas_type": "sigma_min", "sigma_min": smallest}
        return {**UNCLIPPED, **ends, "sigma_max": largest, "prediction_type": "epsilon"}

    def told(self, scheduler: Any) -> Tensor:
        return self._times_of(tuple(self.ratios(scheduler)[:-1].tolist()))

    def first(self, scheduler: Any, x0: Tensor, /) -> Tensor:
        return x0 / self.path.alpha(self.times(scheduler)[0])

    def seen(self, at: Evaluation, x: Tensor, /) -> Tensor:
        return self.path.alpha(at.t) * x

    def last(self, scheduler: Any, x: Tensor, /) -> Tensor:
        return x * self.point(float(self._final_ratio(scheduler)))[0]

    def output(self, at: Evaluation, x: Tensor, u: Tensor, /) -> Tensor:
        skip, out = self._preconditioning(at)
        output: Tensor = (to_data(self.path, at.t, x, u) - skip * x / self.path.alpha(at.t)) / out
        return output

    def velocity(self, at: Evaluation, x: Tensor, output: Tensor, /) -> Tensor:
        sigma = at.scheduler.sigmas[at.i].double()
        data = at.scheduler.precondition_outputs(x / self.path.alpha(at.t), output, sigma)
        beta, gamma = velocity_coefficients(self.path, "x", at.t)
        return combine(beta, x, gamma, data)

    def levels(self) -> Tensor | None:
        return None

    def output_on_line(self, at: Evaluation, data: float, noise: float, /) -> float:
        skip, out = self._preconditioning(at)
        return (data - skip * (data + float(at.scheduler.sigmas[at.i]) * noise)) / out

    @property
    def _bounds(self) -> tuple[float, float]:
        largest, smallest = noise_ratio(self.path, torch.tensor(self.interval, dtype=torch.float64)).tolist()
        return largest, smallest

    def _preconditioning(self, at: Evaluation) -> tuple[float, float]:
        """Return c_skip and c_out of x1 = c_skip x / alpha + c_out F (Karras et al. 2022, Table 1)."""
        sigma, width = float(at.scheduler.sigmas[at.i]), float(at.scheduler.config.sigma_data)
        sign = -1.0 if at.scheduler.config.prediction_type == "v_prediction" else 1.0
        return width**2 / (sigma**2 + width**2), sign * sigma * width / (sigma**2 + width**2) ** 0.5

    def _check_prediction(self) -> None:
        chosen, (largest, smallest) = self.scheduler_class.chosen, self._bounds
        expected = {"sigma_max": largest} if self.ends_in_data else {"sigma_max": largest, "sigma_min": smallest}
        for key, value in expected.items():
            if abs(chosen.get(key, value) - value) > SAME_RATIO * value:
                raise self.refuse(f"the model's noise levels decide, whose {key} is {value:.6g}.")
