"""Driving a scheduler of diffusers as its pipelines do, with a velocity field in the place of their network."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bnsbench.errors import NotApplicableError
from bnsbench.flows.fields import VelocityField
from bnsbench.flows.paths import LOG_SNR_BOUND, CondOT, Cosine, DiscreteVP, Path
from bnsbench.flows.predictions import to_data
from bnsbench_diffusers.schedulers.classes import SchedulerClass
from bnsbench_diffusers.schedulers.conventions import FLOW, SMALLEST_ALPHA_CUMPROD, network_output, noise_ratio

LEVELS = 1000
"""Noise levels of the schedule that stands for a continuous path."""

DETERMINISTIC: Mapping[str, Any] = {"clip_sample": False, "snr_shift_scale": 1.0}
"""What keeps schedulers to the ODE: no clipping, and no other noise levels than those given."""


@dataclass(frozen=True)
class Driver:
    """A class of schedulers on a path and interval.

    On diffusion paths the scheduler gets the path's noise levels, 1000 of them or those of a discrete path, and by default
    ends where the interval does; its networks predict epsilon, or v where the path begins without any data. The field is
    evaluated at the time of the timestep on a discrete path, as pipelines do, and at that of the scheduler's sigma on
    continuous ones, for which timesteps are too coarse. IPNDM has levels of its own, on the cosine path. The state that
    it sees first is x0.
    """

    scheduler_class: SchedulerClass
    path: Path
    interval: tuple[float, float]
    sigmas: str = "own"

    @property
    def flow(self) -> bool:
        return isinstance(self.path, CondOT)

    @property
    def discrete(self) -> bool:
        """Whether timesteps are exactly the path's own."""
        return isinstance(self.path, DiscreteVP) and self.interval == (0.0, 1.0)

    @property
    def ends_in_data(self) -> bool:
        return bool(self.path.log_snr(self.interval[1]) >= LOG_SNR_BOUND)

    @property
    def prediction_type(self) -> str:
        if self.flow:
            return FLOW
        if self.scheduler_class.cosine:
            return "v_prediction"
        return "v_prediction" if bool(self.path.log_snr(self.interval[0]) <= -LOG_SNR_BOUND) else "epsilon"

    def check(self) -> None:
        """Raise NotApplicableError if the scheduler cannot serve the path."""
        name, path = self.scheduler_class.name, self.path.name
        if self.flow and not self.scheduler_class.flows:
            raise NotApplicableError(f"{name} knows no flows, so it cannot serve the path {path!r}.")
        if self.scheduler_class.cosine and not self.flow:
            if not isinstance(self.path, Cosine) or not self.ends_in_data:
                raise NotApplicableError(f"{name} has the noise levels of the cosine path, so it cannot serve {path!r}.")
        elif not self.flow and not self.scheduler_class.diffusions:
            raise NotApplicableError(f"{name} takes no noise levels of a diffusion, so it cannot serve the path {path!r}.")
        if self.sigmas == "linear" and not self.flow:
            raise NotApplicableError(f"sigmas=linear is for flows, and the path {path!r} is none.")

    def prepare(self, steps: int) -> Any:
        """Return a new scheduler with its timesteps set; whatever it raises gets out."""
        scheduler = self.make()
        self.set_steps(scheduler, steps)
        return scheduler

    def make(self) -> Any:
        """Return a new scheduler for the path."""
        return self.scheduler_class.make(self._settings())

    def set_steps(self, scheduler: Any, steps: int) -> None:
        """Set a scheduler's timesteps."""
        if self.sigmas == "linear":
            scheduler.set_timesteps(sigmas=torch.linspace(1.0, 1.0 / steps, steps, dtype=torch.float64).numpy())
        else:
            scheduler.set_timesteps(steps)
        self._end_at_the_interval(scheduler)

    def sample(self, field: VelocityField, x0: Tensor, prepared: Any) -> Tensor:
        """Return the end states of a pipeline's loop over a copy of the prepared scheduler, which serves one loop only."""
        scheduler = copy.deepcopy(prepared)
        times = self.times(scheduler)
        begin, end = (torch.tensor(bound, dtype=torch.float64) for bound in self.interval)
        first = scheduler.timesteps[0]
        scale = _scaled(scheduler, torch.ones(1, 1, 1, 1, dtype=torch.float64), first).reshape(())
        x = x0 / (self.path.alpha(times[0]) if self._ratios else scale * self._norm(begin))
        for i, (t, timestep) in enumerate(zip(times, scheduler.timesteps, strict=True)):
            state = self._norm(t) * _scaled(scheduler, x, timestep) if not self._ratios else self.path.alpha(t) * x
            output = self._output(scheduler, i, t, state, field(t, state))
            stepped = scheduler.step(output, timestep, x)
            x = stepped.prev_sample if hasattr(stepped, "prev_sample") else stepped[0]
        relative = self._ratios or abs(float(scale) - 1.0) > 1e-9
        return x * (self.path.alpha(end) if relative else self._norm(end))

    def times(self, scheduler: Any) -> Tensor:
        """Return the float64 times at which the field is evaluated, within the interval."""
        begin, end = self.interval
        count = len(scheduler.timesteps)
        sigmas = getattr(scheduler, "sigmas", None)
        if self.flow:
            found: Tensor = 1.0 - torch.as_tensor(sigmas, dtype=torch.float64)[:count]
        elif self.scheduler_class.cosine:
            found = 1.0 - torch.as_tensor(scheduler.timesteps, dtype=torch.float64)
        elif self.discrete or sigmas is None or hasattr(scheduler, "sigmas_interpol"):
            found = self._time_of(torch.as_tensor(scheduler.timesteps, dtype=torch.float64))
        else:
            found = self.path.time(-torch.log(torch.as_tensor(sigmas, dtype=torch.float64)[:count]))
        return found.clamp(begin, end)

    @property
    def _ratios(self) -> bool:
        """Whether states are x / alpha and the scheduler preconditions networks itself."""
        return not self.flow and self.scheduler_class.preconditions

    def _norm(self, t: Tensor) -> Tensor:
        """What a state of the variance-preserving path of the same log-SNR is multiplied by."""
        if self.flow or self._ratios:
            return torch.ones((), dtype=torch.float64)
        return torch.sqrt(self.path.alpha(t) ** 2 + self.path.sigma(t) ** 2)

    def _output(self, scheduler: Any, i: int, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        if not self._ratios:
            return network_output(self.path, self.prediction_type, t, x, u)
        # The network F of c_skip x / alpha + c_out F = x1 (Karras et al. 2022, Table 1).
        sigma, width = float(scheduler.sigmas[i]), float(scheduler.config.sigma_data)
        skip, out = width**2 / (sigma**2 + width**2), sigma * width / (sigma**2 + width**2) ** 0.5
        output: Tensor = (to_data(self.path, t, x, u) - skip * x / self.path.alpha(t)) / out
        return output

    def _settings(self) -> dict[str, Any]:
        if self.flow:
            return {"use_flow_sigmas": True, "prediction_type": FLOW}
        if self.scheduler_class.cosine:
            return {}
        ends = {} if self.ends_in_data else {"final_sigmas_type": "sigma_min", "set_alpha_to_one": False}
        if self.scheduler_class.preconditions:
            largest, smallest = noise_ratio(self.path, torch.tensor(self.interval, dtype=torch.float64)).tolist()
            sigmas = {"sigma_max": largest, **({} if self.ends_in_data else {"sigma_min": smallest})}
            return {**ends, **sigmas, "prediction_type": self.prediction_type}
        betas = self._betas()
        given = {"trained_betas": betas, "num_train_timesteps": len(betas), "prediction_type": self.prediction_type}
        return {**DETERMINISTIC, **ends, **given}

    def _betas(self) -> list[float]:
        """Return the noise rates whose alphas_cumprod are the path's, timestep 0 first."""
        count = len(self.path.alphas_cumprod) if isinstance(self.path, DiscreteVP) else LEVELS
        levels = self._time_of(torch.arange(count, dtype=torch.float64), count)
        cumulative = torch.sigmoid(2.0 * self.path.log_snr(levels)).clamp_min(SMALLEST_ALPHA_CUMPROD)
        rates: list[float] = (1.0 - cumulative / torch.cat([torch.ones(1, dtype=torch.float64), cumulative[:-1]])).tolist()
        return rates

    def _time_of(self, timesteps: Tensor, count: int | None = None) -> Tensor:
        """Timestep T - 1 lies at the interval's beginning; 0 at its end, or before it by one if that is free of noise."""
        if count is None:
            count = len(self.path.alphas_cumprod) if isinstance(self.path, DiscreteVP) else LEVELS
        begin, end = self.interval
        free = int(self.ends_in_data)
        return end - (end - begin) * (timesteps + free) / (count - 1 + free)

    def _end_at_the_interval(self, scheduler: Any) -> None:
        """Let a scheduler that has no option for it end at the interval's noise level instead of none."""
        if self.ends_in_data or {"final_sigmas_type", "set_alpha_to_one"} & set(self.scheduler_class.chosen):
            return
        last = float(noise_ratio(self.path, torch.tensor(self.interval[1], dtype=torch.float64)))
        for name in ("sigmas", "sigmas_interpol"):
            values = getattr(scheduler, name, None)
            if isinstance(values, Tensor) and float(values[-1]) == 0.0:
                values[-1] = last


def _scaled(scheduler: Any, x: Tensor, timestep: Any) -> Tensor:
    """Return the state as the network sees it."""
    if not hasattr(scheduler, "scale_model_input"):
        return x
    scaled: Tensor = scheduler.scale_model_input(x, timestep)
    return scaled
