"""What all drivers share: the loop of every pipeline, and the questions that the kinds of schedulers answer differently."""

from __future__ import annotations

import copy
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bnsbench.paths import LOG_SNR_BOUND, Path
from bnsbench.plugin import NotApplicableError, VelocityField
from bnsbench_diffusers.origin import Origin
from bnsbench_diffusers.schedulers.classes import SchedulerClass


@dataclass(frozen=True)
class Evaluation:
    """The i-th evaluation of a scheduler's loop, at the time t."""

    scheduler: Any
    i: int
    t: Tensor


Respond = Callable[[Evaluation, Tensor], Tensor]
"""Returns the network's output in an evaluation at a state on the path."""

ENDS = frozenset({"final_sigmas_type", "set_alpha_to_one"})
"""Options that say where a scheduler ends."""

LINEAR = "linear"
"""The sigmas 1, ..., 2/n, 1/n of flows that many pipelines pass to their schedulers."""


@dataclass(frozen=True)
class Request:
    """Which scheduler is to be driven, and where.

    path, interval: those of the field. sigmas: on flows "own", the scheduler's, or `LINEAR`. mu: the shift of flows, None if
    the user has set none. origin: the pipeline of the path, if it is one.
    """

    scheduler_class: SchedulerClass
    path: Path
    interval: tuple[float, float]
    sigmas: str = "own"
    mu: float | None = None
    origin: Origin | None = None


class Driver(ABC):
    """A class of schedulers on a path and interval.

    The loop is that of every pipeline; in the coordinates of the path, which `seen` and `last` convert to, it is a sampler
    of the field. The state that the network sees first is x0.
    """

    def __init__(self, request: Request) -> None:
        self.request = request
        self.scheduler_class, self.path, self.interval = request.scheduler_class, request.path, request.interval

    @abstractmethod
    def check(self) -> None:
        """Raise NotApplicableError if the scheduler cannot serve the path, or an option contradicts the model."""

    @abstractmethod
    def settings(self) -> Mapping[str, Any]:
        """Return what the scheduler is told about the path and the network."""

    @abstractmethod
    def told(self, scheduler: Any) -> Tensor:
        """Return the float64 times [n] of which the network is told, not yet kept within the interval."""

    @abstractmethod
    def ratios(self, scheduler: Any) -> Tensor:
        """Return the float64 noise levels sigma / alpha, or sigma of flows, [n + 1] that it takes its states to have."""

    @abstractmethod
    def first(self, scheduler: Any, x0: Tensor, /) -> Tensor:
        """Return the scheduler's state of which the network sees x0."""

    @abstractmethod
    def seen(self, at: Evaluation, x: Tensor, /) -> Tensor:
        """Return the state on the path that the network sees in an evaluation, for the scheduler's state x."""

    @abstractmethod
    def last(self, scheduler: Any, x: Tensor, /) -> Tensor:
        """Return the end state on the path for the scheduler's last state x."""

    @abstractmethod
    def output(self, at: Evaluation, x: Tensor, u: Tensor, /) -> Tensor:
        """Return the network's output that the velocity u means at the state x."""

    @abstractmethod
    def velocity(self, at: Evaluation, x: Tensor, output: Tensor, /) -> Tensor:
        """Return the velocity that the network's output means at the state x, by other formulas than `output`."""

    @abstractmethod
    def point(self, ratio: float) -> tuple[float, float]:
        """Return (alpha, sigma) of the path's states at a noise level of `ratios`."""

    @abstractmethod
    def ratio(self, t: Tensor) -> Tensor:
        """Return the noise level of the path at t, as `ratios` counts it."""

    def spread(self, ratio: Tensor) -> Tensor:
        """Return a noise level on a bounded scale, on which levels are compared: the angle of noise and data."""
        return torch.atan(ratio)

    def levels(self) -> Tensor | None:
        """Return the ``alphas_cumprod`` [T] that the scheduler ought to have; None if it goes by other numbers."""
        return None

    @abstractmethod
    def output_on_line(self, at: Evaluation, data: float, noise: float, /) -> float:
        """Return the network's output for a state made of that data and noise, at the level of `ratios`."""

    @property
    def ends_in_data(self) -> bool:
        return bool(self.path.log_snr(self.interval[1]) >= LOG_SNR_BOUND)

    @property
    def ends_by_choice(self) -> bool:
        """Whether it was said where the scheduler ends."""
        return self.scheduler_class.whole or bool(ENDS & set(self.scheduler_class.chosen))

    def make(self) -> Any:
        """Return a new scheduler for the path."""
        return self.scheduler_class.make(self.settings())

    def prepare(self, steps: int) -> Any:
        """Return a new scheduler with its timesteps set; whatever it raises gets out."""
        scheduler = self.make()
        self.set_steps(scheduler, steps)
        return scheduler

    def set_steps(self, scheduler: Any, steps: int) -> None:
        """Set a scheduler's timesteps."""
        scheduler.set_timesteps(steps)

    def sample(self, field: VelocityField, x0: Tensor, prepared: Any) -> Tensor:
        """Return the end states of the field in the place of a network."""

        def respond(at: Evaluation, state: Tensor) -> Tensor:
            return self.output(at, state, field(at.t, state))

        return self.run(respond, x0, prepared)

    def run(self, respond: Respond, x0: Tensor, prepared: Any) -> Tensor:
        """Return the end states of a pipeline's loop over a copy of the prepared scheduler, which serves one loop only."""
        # The configuration never changes in a loop, and its lists are long.
        scheduler = copy.deepcopy(prepared, {id(config := prepared.config): config})
        x = self.first(scheduler, x0)
        for i, (t, timestep) in enumerate(zip(self.times(scheduler), scheduler.timesteps, strict=True)):
            at = Evaluation(scheduler, i, t)
            output = respond(at, self.seen(at, x))
            stepped = scheduler.step(output, timestep, x)
            x = stepped.prev_sample if hasattr(stepped, "prev_sample") else stepped[0]
        return self.last(scheduler, x)

    def times(self, scheduler: Any) -> Tensor:
        """Return the float64 times [n] at which the field is evaluated, within the interval."""
        return self.told(scheduler).clamp(*self.interval)

    def refuse(self, reason: str) -> NotApplicableError:
        """Return the error that says why the scheduler, with the options that were chosen, has no table."""
        return NotApplicableError(f"{self.scheduler_class}: {reason}")


def parameters_of_steps(scheduler_class: SchedulerClass) -> frozenset[str]:
    """Return what a class can be told when its timesteps are set."""
    return frozenset(inspect.signature(scheduler_class.type.set_timesteps).parameters)


def norm(path: Path, t: Tensor | float) -> Tensor:
    """Return by what a state of the variance-preserving path of the same log-SNR is multiplied on this one."""
    return torch.sqrt(path.alpha(t) ** 2 + path.sigma(t) ** 2)


def scaled(scheduler: Any, x: Tensor, timestep: Any) -> Tensor:
    """Return the state as the network sees it."""
    if not hasattr(scheduler, "scale_model_input"):
        return x
    found: Tensor = scheduler.scale_model_input(x, timestep)
    return found
