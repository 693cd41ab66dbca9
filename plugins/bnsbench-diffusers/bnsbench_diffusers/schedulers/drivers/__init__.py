"""Driving schedulers of diffusers as pipelines do, with a velocity field in the place of their network."""

from __future__ import annotations

from bnsbench.paths import CondOT, Path
from bnsbench_diffusers.origin import Origin
from bnsbench_diffusers.schedulers.classes import SchedulerClass
from bnsbench_diffusers.schedulers.drivers.angles import AngleDriver
from bnsbench_diffusers.schedulers.drivers.base import Driver, Evaluation, Request, Respond
from bnsbench_diffusers.schedulers.drivers.flows import FlowDriver
from bnsbench_diffusers.schedulers.drivers.preconditioned import PreconditionedDriver
from bnsbench_diffusers.schedulers.drivers.timesteps import TimestepDriver

__all__ = ["Driver", "Evaluation", "Request", "Respond", "driver_for"]


def driver_for(
    scheduler_class: SchedulerClass,
    path: Path,
    interval: tuple[float, float],
    sigmas: str = "own",
    mu: float | None = None,
    origin: Origin | None = None,
) -> Driver:
    """Return what drives a class of schedulers on a path and interval; NotApplicableError if it cannot serve the path."""
    kind: type[Driver] = TimestepDriver
    if isinstance(path, CondOT):
        kind = FlowDriver
    elif scheduler_class.cosine:
        kind = AngleDriver
    elif scheduler_class.preconditions:
        kind = PreconditionedDriver
    driver = kind(Request(scheduler_class, path, interval, sigmas, mu, origin))
    driver.check()
    return driver
