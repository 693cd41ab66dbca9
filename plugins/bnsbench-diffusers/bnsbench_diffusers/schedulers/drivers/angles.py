"""The scheduler whose noise levels are angles of its own: IPNDM, on the cosine path."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from bnsbench.paths import Cosine
from bnsbench.plugin import NotApplicableError
from bnsbench_diffusers.schedulers.drivers.base import LINEAR
from bnsbench_diffusers.schedulers.drivers.timesteps import TimestepDriver, V


class AngleDriver(TimestepDriver):
    """Drives IPNDM: networks predict v and are told 1 - t."""

    def check(self) -> None:
        name, path = self.scheduler_class.name, self.path.name
        if not isinstance(self.path, Cosine) or not self.ends_in_data:
            raise NotApplicableError(f"{name} has the noise levels of the cosine path, so it cannot serve {path!r}.")
        if self.request.sigmas == LINEAR:
            raise NotApplicableError(f"sigmas=linear is for flows, and the path {path!r} is none.")
        if self.scheduler_class.chosen:
            raise self.refuse("its noise levels are fixed, those of the model's cosine path.")

    def settings(self) -> Mapping[str, Any]:
        return {}

    @property
    def prediction_type(self) -> str:
        return V

    def told(self, scheduler: Any) -> Tensor:
        return 1.0 - torch.as_tensor(scheduler.timesteps, dtype=torch.float64)

    def levels(self) -> Tensor | None:
        return None

    def ratios(self, scheduler: Any) -> Tensor:
        angles = torch.as_tensor(scheduler.timesteps, dtype=torch.float64) * (math.pi / 2)
        return torch.cat([torch.tan(angles), self._final_ratio(scheduler).reshape(1)])

    def _final_ratio(self, _scheduler: Any, /) -> Tensor:
        return torch.zeros((), dtype=torch.float64)
