"""Schedulers as pipelines save them, those of this package among them."""

from __future__ import annotations

import json
from pathlib import Path as FilePath
from typing import Any

import diffusers

from bnsbench.plugin import UsageError, one_line
from bnsbench_diffusers.schedulers.nonstationary import NonStationaryScheduler


def scheduler_of(pipeline: FilePath | str) -> Any:
    """Return the scheduler in a pipeline's folder; UsageError if there is none."""
    file = FilePath(pipeline) / "scheduler" / "scheduler_config.json"
    try:
        config = json.loads(file.read_bytes())
        scheduler_class = _class_named(config["_class_name"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(f"{file} holds no scheduler of diffusers: {one_line(error)}.") from error
    try:
        return scheduler_class.from_config(config)
    except Exception as error:  # whatever a scheduler makes of the options of a foreign file
        raise UsageError(f"The scheduler in {file} cannot be made: {one_line(error)}.") from error


def _class_named(name: str) -> Any:
    """Return a scheduler of diffusers, or the one of this package that is saved in pipelines."""
    if name == NonStationaryScheduler.__name__:
        return NonStationaryScheduler
    found = getattr(diffusers, name)
    if not (isinstance(found, type) and issubclass(found, diffusers.SchedulerMixin)):
        raise TypeError(f"{name!r} is none")
    return found
