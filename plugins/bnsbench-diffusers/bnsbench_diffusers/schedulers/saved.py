"""Schedulers as pipelines save them, those of this package among them."""

from __future__ import annotations

import json
from pathlib import Path as FilePath
from typing import Any

import diffusers

from bnsbench.plugin import UsageError, one_line
from bnsbench_diffusers.schedulers.nonstationary import NonStationaryScheduler

MOST_STEPS = 1_000_000
"""Training timesteps of the largest scheduler that is made: each takes memory for its noise level."""


def scheduler_of(pipeline: FilePath | str) -> Any:
    """Return the scheduler in a pipeline's folder; UsageError if there is none, or it cannot be made."""
    file = FilePath(pipeline) / "scheduler" / "scheduler_config.json"
    try:
        config = json.loads(file.read_bytes())
        scheduler_class = _class_named(config)
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise UsageError(f"{file} holds no scheduler of diffusers: {one_line(error)}.") from error
    try:
        return scheduler_class.from_config(config)
    except Exception as error:  # diffusers checks few of its options, and raises anything for the others
        raise UsageError(f"The scheduler in {file} cannot be made: {one_line(error)}.") from error


def _class_named(config: Any) -> Any:
    """Return the class of a configuration, of diffusers or of this package; an error tells why it has none."""
    if not isinstance(config, dict):
        raise TypeError("it is no object")  # which diffusers would take for the name of a model to download
    name, steps = config["_class_name"], config.get("num_train_timesteps", 0)
    if not isinstance(steps, int) or steps > MOST_STEPS:
        raise ValueError(f"num_train_timesteps should be a whole number up to {MOST_STEPS:,}")
    found = NonStationaryScheduler if name == NonStationaryScheduler.__name__ else getattr(diffusers, name)
    if not (isinstance(found, type) and issubclass(found, diffusers.SchedulerMixin)):
        raise TypeError(f"{name} is no scheduler")
    return found
