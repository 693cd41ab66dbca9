"""Every deterministic scheduler of diffusers as a solver: its loop, traced into a table."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from bnsbench.paths import Path
from bnsbench.plugin import (
    BatchField,
    BnsbenchError,
    NonStationarySolver,
    NotApplicableError,
    UsageError,
    VelocityField,
    one_line,
    trace,
)
from bnsbench_diffusers.origin import Origin, origin_of
from bnsbench_diffusers.schedulers.checks import check_table, check_times, steps_on, tolerance_of
from bnsbench_diffusers.schedulers.classes import PIPELINE, find_class
from bnsbench_diffusers.schedulers.drivers import Driver, driver_for

SIGMAS = ("own", "linear")


def sample(
    field: VelocityField, x0: Tensor, nfe: int, scheduler: str = "", sigmas: str = "own", mu: float | str = ""
) -> Tensor:
    """Return the end states of a scheduler of diffusers that spends ``nfe`` evaluations.

    scheduler: a class of diffusers with or without its ending, or of any package by its dotted name, with options of its
        configuration in brackets: ``DPMSolverMultistep[use_karras_sigmas=true,solver_order=3]``. "pipeline" is that of the
        model's own pipeline.
    sigmas: on flows "own", the scheduler's, or "linear", the 1, ..., 2/n, 1/n that many pipelines pass to it.
    mu: the shift of flows that depends on the size of samples; by default what the model's pipeline would pass.
    NotApplicableError if it cannot spend the budget, serve the path, or has no table; UsageError for unknown names.
    """
    return table(field.path, field.interval, nfe, scheduler, sigmas, _number(mu))(field, x0)


def table(
    path: Path, interval: tuple[float, float], nfe: int, scheduler: str, sigmas: str = "own", mu: float | None = None
) -> NonStationarySolver:
    """Return the table behind `sample` for fields on the path and interval; errors are the same.

    A path that comes from a pipeline brings what its network predicts, the options of its scheduler and the size of its
    samples; of any other path, networks are taken to predict epsilon, or v where it begins without data, unless the option
    prediction_type says otherwise.
    """
    return _table(path, interval, nfe, scheduler, sigmas, mu, origin_of(path))


@functools.lru_cache(maxsize=256)
def _table(
    path: Path,
    interval: tuple[float, float],
    nfe: int,
    scheduler: str,
    sigmas: str,
    mu: float | None,
    origin: Origin | None,
) -> NonStationarySolver:
    if not scheduler:
        raise UsageError("The solver 'diffusers' needs a scheduler: write diffusers[scheduler=DPMSolverMultistep].")
    if sigmas not in SIGMAS:
        raise UsageError(f"There are no sigmas {sigmas!r}; choose from {', '.join(SIGMAS)}.")
    if origin is not None and scheduler == PIPELINE and "solver" in origin.options:
        return _held(origin, nfe)
    found = find_class(scheduler, origin)
    with _told(found.name):
        driver = driver_for(found, path, interval, sigmas, mu, origin)
        prepared = prepare(driver, nfe)
        check_times(driver, prepared)
        steps = steps_on(driver, prepared, "outputs")
        tolerance = tolerance_of(steps, steps_on(driver, prepared, "velocities"))
        solver = _trace(driver, prepared, tolerance)
        check_table(driver, prepared, solver, steps, tolerance)
        return solver


table.cache_clear = _table.cache_clear  # type: ignore[attr-defined]


def _trace(driver: Driver, prepared: Any, tolerance: float) -> NonStationarySolver:
    def loop(field: BatchField, x0: Tensor) -> Tensor:
        return driver.sample(field, x0, prepared)

    shape = lambda numbers: (1, numbers, 1, 1)  # noqa: E731 - as pipelines of images have it
    return trace(loop, driver.path, driver.interval, shape=shape, tolerance=tolerance)


def _held(origin: Origin, nfe: int) -> NonStationarySolver:
    """Return the table that a pipeline's own NonStationaryScheduler holds."""
    solver = NonStationarySolver.from_dict(origin.options["solver"])
    if solver.nfe != nfe:
        raise NotApplicableError(
            f"The pipeline's own scheduler holds a solver that spends {solver.nfe} evaluations, not {nfe}."
        )
    return solver


def _number(mu: float | str) -> float | None:
    try:
        return None if mu == "" else float(mu)
    except ValueError as error:
        raise UsageError(f"The option mu is a number, not {mu!r}.") from error


def prepare(driver: Driver, nfe: int) -> Any:
    """Return a scheduler whose steps spend exactly ``nfe`` evaluations, found by asking it.

    NotApplicableError if there is no such number of steps; what the scheduler raises for all numbers gets out.
    """
    spent: set[int] = set()
    fault: Exception | None = None
    scheduler = driver.make()
    for steps in range(nfe, 0, -1):
        try:
            driver.set_steps(scheduler, steps)
        except (ValueError, IndexError, ZeroDivisionError, RuntimeError) as error:
            fault = error
            continue
        timesteps = scheduler.timesteps
        if float(timesteps[0]) < float(timesteps[-1]):
            raise NotApplicableError(f"{driver.scheduler_class.name} counts its timesteps up, as from data to noise.")
        spent.add(len(timesteps))
        if len(timesteps) == nfe:
            return scheduler
    if not spent and fault is not None:
        raise fault
    known = ", ".join(map(str, sorted(spent)[:4]))
    raise NotApplicableError(f"{driver.scheduler_class.name} spends {known}, ... evaluations, not {nfe}.")


@contextmanager
def _told(name: str) -> Iterator[None]:
    """Turn whatever a scheduler raises into the reason why it is no solver here, and keep its warnings to itself."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except NotApplicableError as error:
        raise type(error)(f"{name}: {error}" if name not in str(error) else str(error)) from error
    except BnsbenchError as error:
        raise NotApplicableError(f"{name} cannot be traced: {error}") from error
    except Exception as error:
        reason = f"{type(error).__name__}: {one_line(error)}"
        raise NotApplicableError(f"{name} cannot be driven like a scheduler: {reason}.") from error
