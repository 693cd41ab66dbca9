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
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise UsageError(f"{file} holds no scheduler of diffusers: {error}.") from error
    try:
        return scheduler_class.from_config(config)
    except ImportError as error:
        raise UsageError(f"The scheduler in {file} cannot be made: {one_line(error)}.") from error


def _class_named(name: str) -> Any:
    """Return a class of diffusers, or the one of this package that is saved in pipelines."""
    return NonStationaryScheduler if name == NonStationaryScheduler.__name__ else getattr(diffusers, name)
