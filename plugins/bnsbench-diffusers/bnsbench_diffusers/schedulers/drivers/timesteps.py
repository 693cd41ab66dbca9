"""Schedulers of diffusions that go by timesteps and ``alphas_cumprod``."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from bnsbench.paths import LOG_SNR_BOUND, DiscreteVP
from bnsbench.plugin import NotApplicableError, velocity_coefficients
from bnsbench_diffusers.schedule import PREDICTIONS, SMALLEST_ALPHA_CUMPROD
from bnsbench_diffusers.schedulers.conventions import network_output, noise_ratio
from bnsbench_diffusers.schedulers.drivers.base import LINEAR, Driver, Evaluation, Request, norm, scaled
from bnsbench_diffusers.schedulers.noise import noise_settings

LEVELS = 1000
"""Noise levels of the schedule that stands for a continuous path."""

CLIPPING = ("clip_sample", "thresholding")
"""Options by which predictions of the data are kept within bounds, which is no part of the equation."""

UNCLIPPED: Mapping[str, Any] = {**dict.fromkeys(CLIPPING, False), "variance_type": None}
"""What keeps schedulers to the ODE, and to the network's output as the model gives it."""

V = "v_prediction"


class TimestepDriver(Driver):
    """Drives schedulers that are given the path's noise levels: 1000 of them, or those of a discrete path.

    By default they end where the interval does. Networks predict what the pipeline's does or the option prediction_type
    says, and else epsilon, or v where the path begins without any data. The field is evaluated at the time of the timestep
    on a discrete path, as pipelines do, and at that of the scheduler's sigma on continuous ones, for which timesteps are
    too coarse.
    """

    def __init__(self, request: Request) -> None:
        super().__init__(request)
        # Loops run again and again, and meet a few times only.
        self._norm = functools.cache(self._norm_at)
        self._of_velocity = functools.cache(self._of_velocity_at)
        self._of_output = functools.cache(self._of_output_at)
        self._times_of = functools.cache(self._times_of_ratios)

    def check(self) -> None:
        name, chosen, path = self.scheduler_class.name, self.scheduler_class.chosen, self.path.name
        if not self.scheduler_class.diffusions:
            raise NotApplicableError(f"{name} takes no noise levels of a diffusion, so it cannot serve the path {path!r}.")
        if self.request.sigmas == LINEAR:
            raise NotApplicableError(f"sigmas=linear is for flows, and the path {path!r} is none.")
        if self.scheduler_class.mu is not None or self.request.mu is not None:
            raise NotApplicableError(f"mu is for flows, and the path {path!r} is none.")
        if chosen.get("use_flow_sigmas", False):
            raise self.refuse(f"the noise levels of a flow are not those of the path {path!r}.")
        if chosen.get("timestep_type", "discrete") != "discrete":
            raise self.refuse("networks are told timesteps of the path, and no logarithms of noise levels.")
        if chosen.get("variance_type") is not None:
            raise self.refuse("what a network predicts beside its state, the variance, is left out by the model already.")
        self._check_clipping()
        self._check_prediction()

    def settings(self) -> Mapping[str, Any]:
        ends = {} if self.ends_in_data else {"final_sigmas_type": "sigma_min", "set_alpha_to_one": False}
        kept = {} if self.scheduler_class.whole else {**UNCLIPPED, **ends}
        levels = self.levels()
        given = {} if levels is None else noise_settings(self.scheduler_class, levels)
        return {**kept, **given, "use_flow_sigmas": False, "prediction_type": self.prediction_type}

    def set_steps(self, scheduler: Any, steps: int) -> None:
        scheduler.set_timesteps(steps)
        if not (self.ends_in_data or self.ends_by_choice):
            self._end_at_the_interval(scheduler)

    @property
    def prediction_type(self) -> str:
        """What the network predicts, in diffusers' terms."""
        origin = self.request.origin
        if origin is not None and origin.prediction_type in PREDICTIONS:
            return origin.prediction_type
        without_data = bool(self.path.log_snr(self.interval[0]) <= -LOG_SNR_BOUND)
        return str(self.scheduler_class.chosen.get("prediction_type", V if without_data else "epsilon"))

    @property
    def discrete(self) -> bool:
        """Whether timesteps are exactly the path's own."""
        return isinstance(self.path, DiscreteVP) and self.interval == (0.0, 1.0)

    def told(self, scheduler: Any) -> Tensor:
        count = len(scheduler.timesteps)
        if self.discrete or getattr(scheduler, "sigmas", None) is None or hasattr(scheduler, "sigmas_interpol"):
            return self._time_of(torch.as_tensor(scheduler.timesteps, dtype=torch.float64))
        return self._times_of(tuple(torch.as_tensor(scheduler.sigmas, dtype=torch.float64)[:count].tolist()))

    def ratios(self, scheduler: Any) -> Tensor:
        count, end = len(scheduler.timesteps), self._final_ratio(scheduler).reshape(1)
        if hasattr(scheduler, "sigmas_interpol"):  # of the two stages in turn
            both = torch.stack([scheduler.sigmas, scheduler.sigmas_interpol]).to(torch.float64)
            index = torch.arange(count)
            return torch.cat([both[index % 2, index], end])
        if hasattr(scheduler, "sigmas"):
            return torch.cat([torch.as_tensor(scheduler.sigmas, dtype=torch.float64)[:count], end])
        cumulative = scheduler.alphas_cumprod[torch.as_tensor(scheduler.timesteps).long()].double()
        return torch.cat([torch.sqrt((1.0 - cumulative) / cumulative), end])

    def first(self, scheduler: Any, x0: Tensor, /) -> Tensor:
        return x0 / (self._scale(scheduler) * self._norm(self.interval[0]))

    def seen(self, at: Evaluation, x: Tensor, /) -> Tensor:
        return self._norm(float(at.t)) * scaled(at.scheduler, x, at.scheduler.timesteps[at.i])

    def last(self, scheduler: Any, x: Tensor, /) -> Tensor:
        alpha, sigma = self.point(float(self._final_ratio(scheduler)))
        # States that are scaled for the network are x / alpha; all others are on the variance-preserving path.
        return x * (alpha if self._relative(scheduler) else math.hypot(alpha, sigma))

    def output(self, at: Evaluation, x: Tensor, u: Tensor, /) -> Tensor:
        p, q = self._of_velocity(float(at.t))
        return p * x + q * u

    def velocity(self, at: Evaluation, x: Tensor, output: Tensor, /) -> Tensor:
        beta, gamma = self._of_output(float(at.t))
        return beta * x + gamma * output

    def point(self, ratio: float) -> tuple[float, float]:
        # The data itself, at the ratio 0, is no larger on one path than on another.
        size = self._norm(float(self._times_of((ratio,)))) if ratio else 1.0
        return size * math.cos(math.atan(ratio)), size * math.sin(math.atan(ratio))

    def ratio(self, t: Tensor) -> Tensor:
        return noise_ratio(self.path, t)

    def levels(self) -> Tensor | None:
        if self.discrete:
            return torch.from_numpy(self.path.alphas_cumprod.copy())  # type: ignore[attr-defined]
        levels = self._time_of(torch.arange(self._count, dtype=torch.float64))
        return torch.sigmoid(2.0 * self.path.log_snr(levels)).clamp_min(SMALLEST_ALPHA_CUMPROD)

    def output_on_line(self, at: Evaluation, data: float, noise: float, /) -> float:
        angle = math.atan(float(self.ratios(at.scheduler)[at.i]))
        v = math.cos(angle) * noise - math.sin(angle) * data
        return {"epsilon": noise, "sample": data, V: v}[self.prediction_type]

    def _check_clipping(self) -> None:
        theirs = self.scheduler_class.inherited if self.scheduler_class.whole else {}
        for key in CLIPPING:
            if {**theirs, **self.scheduler_class.chosen}.get(key, False):
                raise self.refuse(f"{key}=true is not linear in the network's outputs; {key}=false leaves it out.")

    def _norm_at(self, t: float) -> float:
        return float(norm(self.path, t))

    def _of_velocity_at(self, t: float) -> tuple[float, float]:
        """Return (p, q) of the output p x + q u."""
        time, one, none = (torch.tensor(value, dtype=torch.float64) for value in (t, 1.0, 0.0))
        found = (network_output(self.path, self.prediction_type, time, *pair) for pair in ((one, none), (none, one)))
        return float(next(found)), float(next(found))

    def _of_output_at(self, t: float) -> tuple[float, float]:
        """Return (beta, gamma) of the velocity beta x + gamma f."""
        beta, gamma = map(float, velocity_coefficients(self.path, PREDICTIONS[self.prediction_type], t))
        # The v of diffusers is that of the variance-preserving path, whose states are smaller by the norm.
        return beta, gamma * self._norm(t) if self.prediction_type == V else gamma

    def _times_of_ratios(self, ratios: tuple[float, ...]) -> Tensor:
        """Return the times [n] at which the path has these noise levels."""
        return self.path.time(-torch.log(torch.tensor(ratios, dtype=torch.float64)))

    def _check_prediction(self) -> None:
        chosen = self.scheduler_class.chosen.get("prediction_type", self.prediction_type)
        if chosen not in PREDICTIONS:
            raise self.refuse(f"networks on the path {self.path.name!r} predict {', '.join(PREDICTIONS)}.")
        if chosen != self.prediction_type:
            raise self.refuse(f"the model's network predicts {self.prediction_type!r}.")

    @property
    def _count(self) -> int:
        return len(self.path.alphas_cumprod) if isinstance(self.path, DiscreteVP) else LEVELS

    def _time_of(self, timesteps: Tensor) -> Tensor:
        """Timestep T - 1 lies at the interval's beginning; 0 at its end, or before it by one if that is free of noise."""
        begin, end = self.interval
        free = int(self.ends_in_data)
        return end - (end - begin) * (timesteps + free) / (self._count - 1 + free)

    def _scale(self, scheduler: Any) -> Tensor:
        """Return by what the first state is scaled for the network."""
        return scaled(scheduler, torch.ones(1, 1, 1, 1, dtype=torch.float64), scheduler.timesteps[0]).reshape(())

    def _relative(self, scheduler: Any) -> bool:
        """Whether the scheduler's states are x / alpha: those of Euler, LMS, Heun and their like."""
        return float(scheduler.init_noise_sigma) != 1.0

    def _final_ratio(self, scheduler: Any, /) -> Tensor:
        """Return the noise level sigma / alpha at which the scheduler ends."""
        if hasattr(scheduler, "sigmas"):
            return torch.as_tensor(scheduler.sigmas[-1], dtype=torch.float64)
        cumulative = torch.as_tensor(getattr(scheduler, "final_alpha_cumprod", 1.0), dtype=torch.float64)
        return torch.sqrt((1.0 - cumulative) / cumulative)

    def _end_at_the_interval(self, scheduler: Any) -> None:
        """Let a scheduler that has no option for it end at the interval's noise level instead of none."""
        last = float(noise_ratio(self.path, torch.tensor(self.interval[1], dtype=torch.float64)))
        for name in ("sigmas", "sigmas_interpol"):
            values = getattr(scheduler, name, None)
            if isinstance(values, Tensor):
                values[values == 0.0] = last  # two-stage ones keep their end several times
