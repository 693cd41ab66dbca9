"""The exporter ``diffusers``: a solver as the folder that `NonStationaryScheduler.from_pretrained` reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bnsbench.plugin import SolverArtefact, parse_selector
from bnsbench_diffusers.schedulers.nonstationary import NonStationaryScheduler
from bnsbench_diffusers.schedulers.saved import scheduler_of

FILE = "scheduler_config.json"


def export(artefact: SolverArtefact, folder: Path, pipeline: str = "", prediction_type: str = "") -> Path:
    """Write ``folder/scheduler_config.json`` and return its path.

    pipeline: the folder of the pipeline that the scheduler is for, whose own scheduler says what its network predicts; by
        default that of the model, if it is ``diffusers[path=...]``. UsageError if the solver is for another path.
    prediction_type: what the network predicts, if there is no pipeline to ask.
    """
    made, _ = scheduler_for(artefact, pipeline, prediction_type)
    made.save_pretrained(folder)
    return folder / FILE


def scheduler_for(artefact: SolverArtefact, pipeline: str, prediction_type: str) -> tuple[NonStationaryScheduler, Any]:
    """Return the scheduler of a solver, and the pipeline's own if there is a pipeline to ask, else None.

    pipeline, prediction_type: as `export` takes them.
    """
    place = pipeline or ("" if prediction_type else folder_of(artefact.model))
    theirs = scheduler_of(place) if place else None
    return NonStationaryScheduler.from_artefact(artefact, theirs, prediction_type=prediction_type or None), theirs


def folder_of(model: str) -> str:
    """Return the folder of the pipeline that a model's selector names, empty if it names none."""
    if not model:
        return ""
    _, name, settings = parse_selector(model)
    place = settings.get("path", "") if name == "diffusers" else ""
    return place if (Path(place) / "scheduler").is_dir() else ""
