"""Schedulers of flows: states lie on the path itself, noise levels are sigma = 1 - t, networks predict noise minus data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bnsbench.plugin import NotApplicableError
from bnsbench_diffusers.schedule import FLOW
from bnsbench_diffusers.schedulers.drivers.base import LINEAR, Driver, Evaluation, parameters_of_steps
from bnsbench_diffusers.schedulers.noise import OPTIONS

TIMESTEPS = 1000
"""T of networks of which nothing is known."""


class FlowDriver(Driver):
    """Drives schedulers of flows.

    The field is evaluated at the time of the scheduler's sigma, since several round their timesteps; for the pipeline's own
    scheduler at that of the timestep, which is what the pipeline's network is told.
    """

    def check(self) -> None:
        chosen, name = self.scheduler_class.chosen, self.scheduler_class.name
        if not self.scheduler_class.flows:
            raise NotApplicableError(f"{name} knows no flows, so it cannot serve the path {self.path.name!r}.")
        if chosen.get("prediction_type", FLOW) != FLOW:
            raise self.refuse(f"networks on the path {self.path.name!r} predict {FLOW!r}.")
        if chosen.get("use_flow_sigmas", True) is not True:
            raise self.refuse(f"the noise levels of the path {self.path.name!r} are those of a flow.")
        for key in sorted(OPTIONS & set(chosen)):
            if key != "num_train_timesteps":
                raise self.refuse(f"{key} is of diffusions, and the model is a flow, whose noise levels are 1 - t.")
        if chosen.get("num_train_timesteps", self._timesteps) != self._timesteps:
            raise self.refuse(f"the model's network has {self._timesteps} timesteps.")
        self._check_steps()

    def settings(self) -> Mapping[str, Any]:
        told = {"use_flow_sigmas": True, "prediction_type": FLOW, "num_train_timesteps": self._timesteps}
        return told if self.scheduler_class.whole else {**told, "thresholding": False}

    def set_steps(self, scheduler: Any, steps: int) -> None:
        options: dict[str, Any] = {}
        if scheduler.config.get("use_dynamic_shifting", False):
            options["mu"] = self._shift(scheduler)
        if self._sigmas == LINEAR:
            options["sigmas"] = np.linspace(1.0, 1.0 / steps, steps)
            scheduler.set_timesteps(**options)
        else:
            scheduler.set_timesteps(steps, **options)

    def told(self, scheduler: Any) -> Tensor:
        if self.scheduler_class.whole:
            return 1.0 - torch.as_tensor(scheduler.timesteps, dtype=torch.float64) / self._timesteps
        return 1.0 - self.ratios(scheduler)[:-1]

    def ratios(self, scheduler: Any) -> Tensor:
        return torch.as_tensor(scheduler.sigmas, dtype=torch.float64)[: len(scheduler.timesteps) + 1]

    def first(self, _scheduler: Any, x0: Tensor, /) -> Tensor:
        return x0

    def seen(self, _at: Evaluation, x: Tensor, /) -> Tensor:
        return x

    def last(self, _scheduler: Any, x: Tensor, /) -> Tensor:
        return x

    def output(self, _at: Evaluation, _x: Tensor, u: Tensor, /) -> Tensor:
        return -u

    def velocity(self, _at: Evaluation, _x: Tensor, output: Tensor, /) -> Tensor:
        return -output

    def point(self, ratio: float) -> tuple[float, float]:
        return 1.0 - ratio, ratio

    def ratio(self, t: Tensor) -> Tensor:
        return self.path.sigma(t)

    def spread(self, ratio: Tensor) -> Tensor:
        return ratio

    def output_on_line(self, _at: Evaluation, data: float, noise: float, /) -> float:
        return noise - data

    @property
    def _timesteps(self) -> int:
        options = {} if self.request.origin is None else self.request.origin.options
        return int(options.get("num_train_timesteps", TIMESTEPS))

    @property
    def _sigmas(self) -> str:
        """What is passed to the scheduler; to a pipeline's own, by default what its pipeline passes."""
        origin, whole = self.request.origin, self.scheduler_class.whole
        if self.request.sigmas == LINEAR or origin is None or not whole or origin.options.get("use_flow_sigmas", False):
            return self.request.sigmas
        return origin.sigmas

    @property
    def _given_shift(self) -> float | None:
        return self.scheduler_class.mu if self.request.mu is None else self.request.mu

    def _check_steps(self) -> None:
        takes = parameters_of_steps(self.scheduler_class)
        if self._sigmas == LINEAR and "sigmas" not in takes:
            raise self.refuse("it takes no sigmas, so sigmas=linear cannot be passed to it.")
        shifts = {**self.scheduler_class.inherited, **self.scheduler_class.chosen}.get("use_dynamic_shifting", False)
        if self._given_shift is not None and not shifts:
            raise self.refuse("mu is without effect unless use_dynamic_shifting=true.")

    def _shift(self, scheduler: Any) -> float:
        origin = self.request.origin
        found = self._given_shift
        if found is None and origin is not None:
            found = origin.shift(scheduler.config)
        if found is None:
            raise self.refuse("with use_dynamic_shifting it needs mu, the shift for the size of a sample: set mu=NUMBER.")
        return found
