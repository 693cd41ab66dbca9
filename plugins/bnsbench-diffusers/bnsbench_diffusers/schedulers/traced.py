"""Every deterministic scheduler of diffusers as a solver: its loop, traced into a table."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor

from bnsbench.errors import BnsbenchError, NotApplicableError, UsageError
from bnsbench.flows.fields import BatchField, VelocityField
from bnsbench.flows.paths import Path
from bnsbench.nonstationary.table import NonStationarySolver
from bnsbench.nonstationary.tracing import trace
from bnsbench_diffusers.schedulers.classes import find_class
from bnsbench_diffusers.schedulers.drivers import Driver

TOLERANCE = 1e-5
"""The deviation from linearity that counts as rounding: most schedulers compute in float32 whatever they are given."""

SIGMAS = ("own", "linear")


def sample(field: VelocityField, x0: Tensor, nfe: int, scheduler: str = "", sigmas: str = "own") -> Tensor:
    """Return the end states of a scheduler of diffusers that spends ``nfe`` evaluations.

    scheduler: a class of diffusers with or without its ending, or of any package by its dotted name, with options of its
        configuration in brackets: ``DPMSolverMultistep[use_karras_sigmas=true,solver_order=3]``.
    sigmas: on flows "own", the scheduler's, or "linear", the 1, ..., 2/n, 1/n that many pipelines pass to it.
    NotApplicableError if it cannot spend the budget, serve the path, or has no table; UsageError for unknown names.
    """
    return table(field.path, field.interval, nfe, scheduler, sigmas)(field, x0)


@functools.lru_cache(maxsize=256)
def table(path: Path, interval: tuple[float, float], nfe: int, scheduler: str, sigmas: str = "own") -> NonStationarySolver:
    """Return the table behind `sample` for fields on the path and interval; errors are the same."""
    if not scheduler:
        raise UsageError("The solver 'diffusers' needs a scheduler: write diffusers[scheduler=DPMSolverMultistep].")
    if sigmas not in SIGMAS:
        raise UsageError(f"There are no sigmas {sigmas!r}; choose from {', '.join(SIGMAS)}.")
    driver = Driver(find_class(scheduler), path, interval, sigmas)
    with _told(driver.scheduler_class.name):
        driver.check()
        prepared = driver.prepare(steps_for(driver, nfe))

        def loop(field: BatchField, x0: Tensor) -> Tensor:
            return driver.sample(field, x0, prepared)

        return trace(loop, path, interval, shape=lambda numbers: (1, numbers, 1, 1), tolerance=TOLERANCE)


def steps_for(driver: Driver, nfe: int) -> int:
    """Return the number of inference steps that spends exactly ``nfe`` evaluations, found by asking the scheduler.

    NotApplicableError if there is none; what the scheduler raises for all numbers gets out.
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
            return steps
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
        reason = " ".join(str(error).split()).rstrip(".")
        raise NotApplicableError(f"{name} cannot be driven like a scheduler: {type(error).__name__}: {reason}.") from error
